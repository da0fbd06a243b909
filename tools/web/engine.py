"""All work with networks in one thread: MegEngine's operators run only where it was imported.

Threads of the web server hand in jobs and read what they yield; ``Engine.serve`` works them off,
one at a time, in the thread that calls it.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator

logger = logging.getLogger(__name__)

Work = Callable[[], Iterator[Any]]
"""A job: called in the engine's thread, it yields what is to be shown."""

EXPECTED_ERRORS = (ValueError, TypeError, RuntimeError, OSError, MemoryError)
POLL = 0.5
"""Seconds between two looks at whether a reader or the engine is still there."""


class BusyError(RuntimeError):
    """No more jobs are taken now; the message says why and what to do."""


@dataclass(frozen=True)
class Waiting:
    """The job has not begun: so many are before it."""

    before: int


@dataclass(frozen=True)
class Failed:
    """The job ended by an error, for people to read."""

    message: str


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled."""


@dataclass(frozen=True)
class _Ended:
    """Nothing more comes."""


@dataclass(eq=False)
class Job:
    """Work of one visitor, with what it has yielded so far."""

    visitor: str
    work: Work
    events: queue.Queue[Any] = field(default_factory=queue.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)


class Engine:
    """A bounded queue of jobs, one visitor one job.

    Args:
        waiting: Jobs that may wait beside the one at work.
    """

    def __init__(self, waiting: int = 8):
        if waiting < 1:
            raise ValueError(f"waiting is {waiting}; expected a whole number >= 1")
        self._most = waiting
        self._jobs: list[Job] = []  # the first one is at work
        self._changed = threading.Condition()
        self._stopped = False

    def stream(self, visitor: str, work: Work) -> Iterator[Any]:
        """Hand in a job and yield what it yields; closing this generator cancels the job.

        Args:
            visitor: Whose job it is.
            work: What to do.

        Yields:
            ``Waiting`` while others are first, what the job yields, and ``Failed`` or ``Cancelled``
            at the end if it came to that.

        Raises:
            BusyError: The queue is full, or the visitor has a job in it.
        """
        return self._follow(self._submit(visitor, work))

    def cancel(self, visitor: str) -> int:
        """Cancel the jobs of a visitor and return how many there were."""
        with self._changed:
            found = [job for job in self._jobs if job.visitor == visitor]
        for job in found:
            job.cancelled.set()
        return len(found)

    def stop(self) -> None:
        """Cancel everything and let ``serve`` return."""
        with self._changed:
            self._stopped = True
            for job in self._jobs:
                job.cancelled.set()
            self._changed.notify_all()

    def serve(self) -> None:
        """Do jobs until ``stop``: to be called in the thread that imported megengine."""
        while True:
            with self._changed:
                while not self._jobs and not self._stopped:
                    self._changed.wait(POLL)  # short, so that Ctrl-C is heard
                if not self._jobs:
                    return
                job = self._jobs[0]
            try:
                self._do(job)
            finally:
                with self._changed:
                    self._jobs.remove(job)
                job.events.put(_Ended())

    def _submit(self, visitor: str, work: Work) -> Job:
        with self._changed:
            if self._stopped:
                raise BusyError("the server is shutting down")
            if any(job.visitor == visitor for job in self._jobs):
                raise BusyError("your earlier run is still going: wait for it, or cancel it")
            if len(self._jobs) > self._most:
                raise BusyError(f"{self._most} runs are waiting already: try again in a while")
            job = Job(visitor, work)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def _do(self, job: Job) -> None:
        if job.cancelled.is_set():
            job.events.put(Cancelled())
            return
        steps = None
        try:
            steps = job.work()
            for event in steps:
                job.events.put(event)
                if job.cancelled.is_set():
                    job.events.put(Cancelled())
                    return
        except EXPECTED_ERRORS as error:
            job.events.put(Failed(str(error) or type(error).__name__))
        except Exception:  # the thread must live on for the next visitor
            logger.exception("a run failed")
            job.events.put(Failed("the run failed; the server's log has the reason"))
        finally:
            close = getattr(steps, "close", None)
            if close is not None:
                close()

    def _before(self, job: Job) -> int:
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def _follow(self, job: Job) -> Iterator[Any]:
        told = 0
        try:
            while True:
                before = self._before(job)
                if before not in (0, told):
                    yield Waiting(before)
                    told = before
                try:
                    event = job.events.get(timeout=POLL)
                except queue.Empty:
                    continue
                if isinstance(event, _Ended):
                    return
                yield event
        finally:
            job.cancelled.set()

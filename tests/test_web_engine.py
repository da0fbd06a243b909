"""The one thread in which the page's networks run: order, bounds, cancelling, errors."""

from __future__ import annotations

import threading
import time

import pytest

from tools.web.engine import BusyError, Cancelled, Engine, Failed, Waiting


@pytest.fixture
def engine():
    """An engine with room for two that wait; it serves in a thread of its own."""
    engine = Engine(waiting=2)
    thread = threading.Thread(target=engine.serve, name="engine")
    thread.start()
    yield engine
    engine.stop()
    thread.join(10)
    assert not thread.is_alive()


def numbers(count: int):
    return lambda: iter(range(count))


class Gated:
    """A job that yields once and then waits to be let on."""

    def __init__(self):
        self.begun, self.go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __call__(self):
        try:
            self.begun.set()
            yield "begun"
            assert self.go.wait(10)
            yield "more"
            yield "never seen by those who cancel"
        finally:
            self.closed.set()


def test_a_job_runs_in_the_serving_thread_and_yields_in_order(engine):
    def work():
        yield threading.current_thread().name
        yield from range(3)

    assert list(engine.stream("a", work)) == ["engine", 0, 1, 2]


def test_jobs_run_one_after_the_other_and_those_that_wait_are_told(engine):
    first = Gated()
    one = engine.stream("a", first)
    assert next(one) == "begun"
    two = engine.stream("b", numbers(2))
    assert next(two) == Waiting(1)
    first.go.set()
    assert list(two) == [0, 1]
    assert list(one) == ["more", "never seen by those who cancel"]


def test_the_queue_is_bounded(engine):
    first = Gated()
    kept = [engine.stream("a", first), engine.stream("b", first), engine.stream("c", first)]
    with pytest.raises(BusyError, match="2 runs are waiting already: try again"):
        engine.stream("d", numbers(1))
    first.go.set()
    assert next(kept[0]) == "begun"
    for stream in kept:
        stream.close()


def test_a_visitor_has_one_run_at_a_time(engine):
    first = Gated()
    one = engine.stream("a", first)
    with pytest.raises(BusyError, match="your earlier run is still going"):
        engine.stream("a", numbers(1))
    first.go.set()
    assert len(list(one)) == 3
    assert list(engine.stream("a", numbers(1))) == [0]


def test_cancelling_ends_a_run_between_two_steps_and_frees_its_place(engine):
    work = Gated()
    stream = engine.stream("a", work)
    assert next(stream) == "begun"
    assert engine.cancel("somebody else") == 0
    assert engine.cancel("a") == 1
    work.go.set()
    assert list(stream)[-1] == Cancelled()
    assert work.closed.wait(5)
    assert list(engine.stream("a", numbers(2))) == [0, 1]


def test_a_run_that_waits_can_be_cancelled_before_it_begins(engine):
    first, second = Gated(), Gated()
    one, two = engine.stream("a", first), engine.stream("b", second)
    assert next(two) == Waiting(1)
    engine.cancel("b")
    first.go.set()
    assert list(two) == [Cancelled()]
    assert not second.begun.is_set()
    assert "more" in list(one)


def test_a_reader_who_leaves_cancels_the_run(engine):
    work = Gated()
    stream = engine.stream("a", work)
    next(stream)
    stream.close()
    work.go.set()
    assert work.closed.wait(5)
    assert list(engine.stream("b", numbers(1))) == [0]


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, OSError, MemoryError])
def test_errors_that_are_meant_for_people_are_told(engine, kind):
    def work():
        yield 1
        raise kind("the map is too small")

    assert list(engine.stream("a", work)) == [1, Failed("the map is too small")]


def test_other_errors_are_logged_and_the_engine_lives_on(engine, caplog):
    def work():
        raise KeyError("secret")
        yield

    (told,) = engine.stream("a", work)
    assert "secret" not in told.message
    assert "log has the reason" in told.message
    assert "KeyError: 'secret'" in caplog.text
    assert list(engine.stream("a", numbers(1))) == [0]


def test_stopping_cancels_everything_and_takes_no_more():
    engine = Engine()
    thread = threading.Thread(target=engine.serve)
    thread.start()
    work = Gated()
    stream = engine.stream("a", work)
    next(stream)
    engine.stop()
    work.go.set()
    thread.join(10)
    assert not thread.is_alive()
    assert list(stream)[-1] == Cancelled()
    with pytest.raises(BusyError, match="shutting down"):
        engine.stream("a", numbers(1))


def test_an_idle_engine_stops_at_once():
    engine = Engine()
    thread = threading.Thread(target=engine.serve)
    thread.start()
    began = time.monotonic()
    engine.stop()
    thread.join(10)
    assert time.monotonic() - began < 5
    assert not thread.is_alive()


def test_a_queue_needs_room():
    with pytest.raises(ValueError, match="expected a whole number >= 1"):
        Engine(0)

"""Between the page and the engine: runs asked for by visitors, told as what the view shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

from tools.web.engine import EXPECTED_ERRORS, Cancelled, Engine, Failed, Waiting, Work
from tools.web.examples import Examples
from tools.web.following import Done, Loading, Progress
from tools.web.results import Results, packed
from tools.web.shelf import Shelf
from tools.web.uploads import Limits, data_url

View = dict
KINDS = {"png": "Picture", "mp4": "Video", "json": "JSON", "zip": "All pictures"}


@dataclass(frozen=True, eq=False)
class Desk:
    """Everything that the handlers of the page share.

    Attributes:
        shelf: The models.
        engine: Where networks run.
        results: What can be downloaded.
        limits: What is taken from visitors.
        examples: Inputs to begin with.
    """

    shelf: Shelf
    engine: Engine
    results: Results
    limits: Limits
    examples: Examples

    def run(self, visitor: str, work: Work, labels: Sequence[str] = ()) -> Iterator[View]:
        """Do a run and yield what the view shows; closing this generator cancels it.

        Args:
            visitor: Whose run it is.
            work: From ``runs``.
            labels: What the two sides of a comparison are called.
        """
        view = _view("waiting", "Starting …")
        yield view
        try:
            for event in self.engine.stream(visitor, work):
                view = self._next(view, event, labels)
                yield view
        except EXPECTED_ERRORS as error:
            yield failed(error)

    def _next(self, view: View, event: Any, labels: Sequence[str]) -> View:
        if isinstance(event, Waiting):
            runs = "run is" if event.before == 1 else "runs are"
            return _view("waiting", f"Waiting: {event.before} {runs} before yours.")
        if isinstance(event, Loading):
            return _view("waiting", f"Reading the weights of {event.model} …")
        if isinstance(event, Progress):
            urls = [data_url(one) for one in event.pictures] or view.get("pictures", [])
            told = f"{event.number} of {event.total} · {_seconds(event.left)} left"
            return {
                **_view("running", told),
                "done": event.number / event.total,
                "pictures": urls,
            }
        if isinstance(event, Failed):
            return _view("error", _sentence(event.message))
        if isinstance(event, Cancelled):
            return {**view, "state": "cancelled", "message": "Cancelled."}
        return self._finished(event, labels)

    def _finished(self, done: Done, labels: Sequence[str]) -> View:
        files = packed(done)
        token = self.results.put(files)
        single = len(done.pictures) == 1 and done.before is not None
        seed = str(done.facts.get("seed", ""))
        return {
            **_view("done", _summary(done)),
            "pictures": [data_url(one) for one in done.pictures],
            "before": data_url(done.before) if single and done.before is not None else "",
            "codes": "" if done.codes is None else data_url(done.codes),
            "labels": list(labels),
            "seed": seed,
            "files": [
                {
                    "name": name,
                    "label": KINDS[name.rpartition(".")[2]],
                    "url": f"results/{token}/{name}",
                }
                for name in files
            ],
        }


def failed(error: BaseException) -> View:
    """Return a view that says what went wrong."""
    return _view("error", _sentence(str(error) or type(error).__name__))


def _view(state: str, message: str) -> View:
    return {"state": state, "message": message}


def _sentence(text: str) -> str:
    text = " ".join(text.replace("'the file'", "the file").split())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _seconds(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 100 else f"{math.ceil(seconds / 60)} min"


def _summary(done: Done) -> str:
    facts = done.facts
    height, width = done.pictures[0].shape[:2]
    told = [str(facts["model"]), f"{width} x {height} pixels"]
    if "psnr" in facts:
        told += [f"{facts['codes_used']} different codes", f"PSNR {facts['psnr']} dB"]
    return " · ".join(told)

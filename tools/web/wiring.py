"""What all tabs have in common: the buttons, the board's events, and a run's way to the view."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

import gradio as gr

from tools.web.desk import Desk, View, failed
from tools.web.engine import EXPECTED_ERRORS, Work
from tools.web.shelf import Shape, need_weights
from tools.web.uploads import bytes_of, field_of
from tools.web.widgets import board, view

READERS = 2
"""Uploads that are decoded at the same time."""


def without_models(desk: Desk, task: str) -> bool:
    """Say what to do where a tab has no model; return whether that is so."""
    if desk.shelf.names(task):
        return False
    gr.Markdown(need_weights(task), elem_classes=["missing"])
    return True


def first_board(desk: Desk, task: str, kind: str) -> Any:
    """Return the board of a tab, with the example if there is one."""
    shape = desk.shelf.shape(desk.shelf.names(task)[0])
    return board(desk.examples.board(kind, shape), task)


def run_column(text: str, task: str) -> tuple[Any, Any, Any]:
    """Return the buttons that start and cancel a run, and its view: what a wide page has right."""
    with gr.Column(min_width=320):
        with gr.Row():
            run = gr.Button(text, variant="primary", elem_id=f"{task}-run", scale=3, min_width=120)
            stop = gr.Button("Cancel", elem_id=f"{task}-cancel", scale=1, min_width=90)
        shown = view(task)
    return run, stop, shown


def on(event: Callable[..., Any], handler: Any, inputs: Any, outputs: Any, **more: Any) -> Any:
    """Attach a quick handler, which no queue holds up, and which is no public interface."""
    return event(handler, inputs, outputs, show_progress="hidden", api_visibility="private", **more)


def wire_board(desk: Desk, task: str, kind: str, pad: Any, model: Any, invert: Any = None) -> None:
    """Let a board take uploads, go back to the example, and follow the model."""

    def shape(name: Any) -> Shape:
        return desk.shelf.shape(desk.shelf.check(task, name))

    def upload(given: Any, name: Any, turned: Any = False) -> Any:
        chosen = shape(name)
        try:
            chosen = desk.examples.resized(chosen, field_of(given, "side"))
            if field_of(given, "file"):
                data = bytes_of(field_of(given, "file"), desk.limits.file_bytes, "file")
                return desk.examples.read(kind, data, chosen, bool(turned))
            if field_of(given, "cells"):
                return desk.examples.repainted(given, chosen)
            return desk.examples.board(kind, chosen)
        except EXPECTED_ERRORS as error:
            return desk.examples.message(kind, chosen, str(failed(error)["message"]))

    def first(name: Any) -> Any:
        return desk.examples.board(kind, shape(name))

    def example(given: Any, name: Any) -> Any:
        return upload({"side": field_of(given, "side")}, name)

    inputs = [pad, model] if invert is None else [pad, model, invert]
    on(pad.upload, upload, inputs, pad, concurrency_limit=READERS, concurrency_id="uploads")
    on(pad.example, example, [pad, model], pad)
    on(model.change, first, model, pad)


def wire_run(
    desk: Desk,
    work: Callable[..., Work],
    inputs: Sequence[Any],
    parts: Sequence[Any],
    labels: Sequence[str] = (),
    seed: Any = None,
) -> None:
    """Let a tab's buttons start and cancel runs.

    Args:
        desk: What the handlers share.
        work: From the values of the inputs to a run; raises what is wrong with them.
        inputs: Components.
        parts: The two buttons and the view.
        labels: What the sides of a comparison are called.
        seed: The field that takes a used seed.
    """
    run, stop, shown = parts

    def start(request: gr.Request, *values: Any) -> Iterator[View]:
        try:
            job = work(*values)
        except EXPECTED_ERRORS as error:
            yield failed(error)
            return
        yield from desk.run(str(request.session_hash), job, labels)

    def cancel(request: gr.Request) -> None:
        desk.engine.cancel(str(request.session_hash))

    on(run.click, start, list(inputs), shown, concurrency_limit=None)
    on(stop.click, cancel, None, None, queue=True, concurrency_limit=None)
    if seed is not None:
        on(shown.reuse, None, shown, seed, js="(view) => view.seed")

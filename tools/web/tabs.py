"""What each tab consists of, and what its Run button asks for."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tools.web import runs, uploads
from tools.web.desk import Desk
from tools.web.engine import Work
from tools.web.settings import drawing_settings, model_choice, read_settings, read_size
from tools.web.shelf import Shape
from tools.web.wiring import first_board, on, run_column, wire_board, wire_run, without_models

MOST = 4
"""Pictures drawn together of an input; of a class or of nothing:"""
MOST_FREE = 16


def reconstruct(desk: Desk) -> None:
    """Fill the tab that passes a photograph through a first stage."""
    task = "reconstruct"
    if without_models(desk, task):
        return
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            pad = first_board(desk, task, "photo")
            model = model_choice(desk.shelf.names(task))
        parts = run_column("Reconstruct", task)

    def work(given: Any, name: Any) -> Work:
        chosen = desk.shelf.check(task, name)
        photo = uploads.sent_picture(given, desk.limits)
        return lambda: runs.reconstruct(desk.shelf, chosen, photo)

    wire_board(desk, task, "photo", pad, model)
    wire_run(desk, work, [pad, model], parts, ("photograph", "reconstruction"))


def segmentation(desk: Desk) -> None:
    """Fill the tab that draws landscapes of painted maps."""
    _of_map(desk, "segmentation", "labels", "map")


def depth(desk: Desk) -> None:
    """Fill the tab that draws pictures of depth maps."""
    _of_map(desk, "depth", "depth", "depth")


def _of_map(desk: Desk, task: str, kind: str, called: str) -> None:
    if without_models(desk, task):
        return
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            pad = first_board(desk, task, kind)
            invert = (
                gr.Checkbox(False, label="Far is large in uploads (the models know near large)")
                if kind == "depth"
                else None
            )
            settings = drawing_settings(desk.shelf, task, MOST)
        parts = run_column("Draw", task)

    def work(given: Any, *values: Any) -> Work:
        how = read_settings(desk.shelf, task, values, MOST)
        if kind == "labels":
            shape = desk.shelf.shape(how.model)
            cells = uploads.sent_cells(given, desk.limits, shape.n_labels)
            view = desk.examples.colours(shape)[cells]
        else:
            cells = uploads.sent_depth(given, desk.limits)
            view = uploads.sent_picture(given, desk.limits)
        return lambda: runs.of_map(desk.shelf, how, task, cells, view)

    wire_board(desk, task, kind, pad, settings.model, invert)
    wire_run(desk, work, [pad, *settings], parts, (called, "picture"), settings.seed)


def of_class(desk: Desk) -> None:
    """Fill the tab that draws pictures of classes."""
    _free(desk, "class")


def unconditional(desk: Desk) -> None:
    """Fill the tab that draws pictures without an input."""
    _free(desk, "unconditional")


def _free(desk: Desk, task: str) -> None:
    if without_models(desk, task):
        return
    first = desk.shelf.shape(desk.shelf.names(task)[0])
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            label = _class_choice(first, visible=task == "class")
            with gr.Row():
                width = gr.Slider(64, 512, value=first.side, step=16, label="Width (px)")
                height = gr.Slider(64, 512, value=first.side, step=16, label="Height (px)")
            settings = drawing_settings(desk.shelf, task, MOST_FREE)
        parts = run_column("Draw", task)

    def work(name: Any, wide: Any, high: Any, *values: Any) -> Work:
        how = read_settings(desk.shelf, task, values, MOST_FREE)
        shape = desk.shelf.shape(how.model)
        size = read_size(shape.factor, wide, high, desk.limits.area)
        chosen = _class_number(shape, name)
        return lambda: runs.gallery(desk.shelf, how, chosen, size, task)

    def chosen(name: Any) -> tuple[Any, int, int]:
        shape = desk.shelf.shape(desk.shelf.check(task, name))
        return _class_choice(shape, visible=task == "class"), shape.side, shape.side

    on(settings.model.change, chosen, settings.model, [label, width, height])
    given = [label, width, height, *settings]
    wire_run(desk, work, given, parts, (), settings.seed)


def complete(desk: Desk) -> None:
    """Fill the tab that draws a part of a photograph anew."""
    task = "complete"
    if without_models(desk, task):
        return
    first = desk.shelf.shape(desk.shelf.names(task)[0])
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            pad = first_board(desk, task, "mask")
            label = _class_choice(first, visible=first.n_classes > 0)
            blend = gr.Checkbox(True, label="Keep the photograph's own pixels outside")
            settings = drawing_settings(desk.shelf, task, MOST)
        parts = run_column("Complete", task)

    def work(given: Any, name: Any, keep: Any, *values: Any) -> Work:
        how = read_settings(desk.shelf, task, values, MOST)
        photo = uploads.sent_picture(given, desk.limits)
        mask = uploads.sent_cells(given, desk.limits, 2) > 0
        if mask.shape != photo.shape[:2]:
            raise ValueError("the mask is of another photograph: upload it again")
        chosen = _class_number(desk.shelf.shape(how.model), name)
        return lambda: runs.complete(desk.shelf, how, photo, mask, chosen, bool(keep))

    def chosen(name: Any) -> Any:
        shape = desk.shelf.shape(desk.shelf.check(task, name))
        return _class_choice(shape, visible=shape.n_classes > 0)

    on(settings.model.change, chosen, settings.model, label)
    wire_board(desk, task, "mask", pad, settings.model)
    given = [pad, label, blend, *settings]
    wire_run(desk, work, given, parts, ("photograph", "completed"), settings.seed)


def _class_choice(shape: Shape, visible: bool) -> Any:
    names = [*shape.names] if shape.n_classes == len(shape.names) else []
    choices = names or [str(number) for number in range(shape.n_classes)] or ["none"]
    return gr.Dropdown(choices, value=choices[0], label="Class", visible=visible)


def _class_number(shape: Shape, name: Any) -> int | None:
    """Return the number of a class that was chosen, ``None`` for a model without."""
    if not shape.n_classes:
        return None
    known = [*shape.names] if shape.n_classes == len(shape.names) else []
    known = known or [str(number) for number in range(shape.n_classes)]
    if name not in known:
        raise ValueError(f"{str(name)[:40]!r} is no class of this model: choose one")
    return known.index(name)

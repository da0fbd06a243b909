"""The settings of a run on the page: which there are, where they start, and how they are read."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.noise import check_seed
from official.multimodal.taming_transformer.sampling import SamplingParams
from tools.web.following import Drawing
from tools.web.shelf import Shelf

LARGE = 10**8
"""Parameters from which on decoding a preview takes seconds."""


class Settings(NamedTuple):
    """Components of a tab, in the order in which handlers get their values."""

    model: Any
    seed: Any
    temperature: Any
    top_k: Any
    top_p: Any
    count: Any
    every: Any
    window: Any


def model_choice(names: list[str]) -> Any:
    """Make the choice of a model."""
    value = names[0] if names else None
    return gr.Dropdown(names, value=value, label="Model", interactive=bool(names))


def drawing_settings(shelf: Shelf, task: str, most: int) -> Settings:
    """Make the components of everything that a sampler can be told.

    Args:
        shelf: The models.
        task: The tab.
        most: Pictures that can be drawn together.
    """
    names = shelf.names(task)
    start = _advice(names[0]) if names else SamplingParams(top_k=100)
    model = model_choice(names)
    with gr.Row():
        count = gr.Slider(1, most, value=1 if most <= 4 else 4, step=1, label="Pictures")
        seed = gr.Textbox(label="Seed", placeholder="fresh each time", max_lines=1)
    with gr.Accordion("More settings", open=False):
        with gr.Row():
            temperature = gr.Slider(0.1, 2, value=start.temperature, step=0.05, label="Temperature")
            top_p = gr.Slider(0.05, 1, value=start.top_p, step=0.01, label="Top-p")
        with gr.Row():
            top_k = gr.Number(start.top_k or 0, precision=0, minimum=0, label="Top-k (0: all)")
            every = gr.Number(
                _every(shelf, names[0], most) if names else 0,
                precision=0,
                minimum=0,
                label="Tokens between previews (0: automatic)",
            )
        # a gallery is drawn by the fast sampler, which keeps to the model's own window
        window = gr.Number(
            0, precision=0, minimum=0, label="Window in cells (0: the model's)", visible=most <= 4
        )
    settings = Settings(model, seed, temperature, top_k, top_p, count, every, window)

    def advised(name: str) -> tuple[float, int, float, int]:
        advice = _advice(shelf.check(task, name))
        return advice.temperature, advice.top_k or 0, advice.top_p, _every(shelf, name, most)

    model.change(
        advised,
        model,
        [temperature, top_k, top_p, every],
        show_progress="hidden",
        queue=False,
        api_visibility="private",
    )
    return settings


def _advice(name: str) -> SamplingParams:
    return zoo.model_row(name).sampling or SamplingParams()


def _every(shelf: Shelf, name: str, most: int) -> int:
    """Return after how many tokens there is a preview: rarer where many pictures are decoded."""
    return 0 if shelf.shape(name).parameters > LARGE else 16 if most <= 4 else 32


def read_settings(shelf: Shelf, task: str, values: tuple[Any, ...], most: int) -> Drawing:
    """Return how to draw.

    Args:
        shelf: The models.
        task: The tab.
        values: Of the components of ``Settings``.
        most: Pictures that can be drawn together.

    Raises:
        ValueError: A setting is out of range.
    """
    model, seed, temperature, top_k, top_p, count, every, window = values
    name = shelf.check(task, model)
    if not 1 <= _whole("the number of pictures", count) <= most:
        raise ValueError(f"the number of pictures is {count}; expected 1 to {most}")
    params = SamplingParams(float(temperature), _whole("top-k", top_k) or None, float(top_p))
    params.check_vocabulary(shelf.shape(name).n_embed)
    return Drawing(
        name,
        params.temperature,
        params.top_k,
        params.top_p,
        read_seed(seed),
        int(count),
        _whole("the number of tokens between previews", every),
        _whole("the window", window) or None,
    )


def read_seed(text: Any) -> int | None:
    """Return the seed that was typed, ``None`` for a fresh one.

    Raises:
        ValueError: It is no whole number in 0 .. 2**64 - 1.
    """
    typed = str(text or "").strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal() and len(typed) <= 20):
        raise ValueError(
            f"the seed is {typed[:30]!r}; expected a whole number from 0 to 2**64 - 1, or nothing "
            "for a fresh one"
        )
    return check_seed(int(typed))


def read_size(factor: int, width: Any, height: Any, area: int) -> tuple[int, int]:
    """Return (height, width) in pixels, whole cells of the model.

    Raises:
        ValueError: Too small, or more than ``area`` pixels.
    """
    sides = [_whole("a side", side) // factor * factor for side in (height, width)]
    if min(sides) < factor:
        raise ValueError(f"{width}x{height} pixels are too small; expected {factor} at least")
    if sides[0] * sides[1] > area:
        most = int(area**0.5)
        raise ValueError(
            f"{width}x{height} pixels are more than this page draws; expected at most "
            f"{most}x{most}, or another shape of that area"
        )
    return sides[0], sides[1]


def _whole(what: str, value: Any) -> int:
    if value is None or isinstance(value, bool) or int(value) != value or value < 0:
        raise ValueError(f"{what} is {value}; expected a whole number, 0 or more")
    return int(value)

"""Figures of one token: what the transformer looks at, and how the token is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import megengine.functional as F
import numpy as np
from matplotlib.figure import Figure
from megengine import Tensor

from official.multimodal.taming_transformer.columns import from_columns, last_columns, to_columns
from official.multimodal.taming_transformer.gpt import GPT
from official.multimodal.taming_transformer.labels import colourise_labels, one_hot
from official.multimodal.taming_transformer.layers import softmax
from official.multimodal.taming_transformer.sampling import SamplingParams, filter_logits
from official.multimodal.taming_transformer.zoo import model_row
from tools.diagrams.stock import Stock

NAME = "scenes_segmentation_transformer"
ROW, COLUMN = 9, 7
SHOWN = 300
"""Likeliest codes that are shown."""


@dataclass(frozen=True, eq=False)
class Look:
    """One step of the transformer.

    Attributes:
        weights: Attention of the last token, float (n_layer, n_head, T).
        logits: Of the next token, float (V,).
    """

    weights: np.ndarray
    logits: np.ndarray


def look(gpt: GPT, tokens: np.ndarray) -> Look:
    """Run the transformer over a sequence and keep what its last token attends to.

    Args:
        gpt: The transformer.
        tokens: Integers (T,).
    """
    idx = Tensor(np.ascontiguousarray(tokens[None]), dtype="int32", device=gpt.device)
    t, heads = idx.shape[1], gpt.config.n_head
    future = np.triu(np.full((t, t), -np.inf, np.float32), 1)
    mask = None if t == 1 else Tensor(future, device=gpt.device)
    cache = gpt.new_cache()
    x, weights = to_columns(gpt.tok_emb(idx) + gpt.pos_emb[:, :t]), []
    for layer, block in enumerate(gpt.blocks):
        h = block.ln1(x)
        width = h.shape[1] // heads
        q = block.attn.query(last_columns(h, 1)).reshape(heads, 1, width)
        k = block.attn.key(h).reshape(heads, width, t)
        weights.append(softmax(F.matmul(q, k) * width**-0.5).numpy()[:, 0])
        x = block(x, 1, mask, cache, layer)
    logits = from_columns(gpt.head(gpt.ln_f(x)), 1)[0, -1].numpy()
    return Look(np.stack(weights), logits)


def _step(stock: Stock) -> tuple[Any, Any, Look]:
    """Return a picture, its map's view, and the look at the cell of ROW and COLUMN."""
    sampler, labels = stock.sampler(NAME), stock.labels(128)
    drawn = sampler(labels)
    cells = ROW * drawn.indices.shape[2] + COLUMN
    c = Tensor(np.ascontiguousarray(one_hot(labels, 12), np.float32))
    condition = sampler.model.encode_to_c(c)[1].numpy().ravel()
    tokens = np.concatenate([condition, drawn.indices[0].ravel()[:cells]])
    found = look(sampler.model.transformer, tokens)
    return drawn.picture, colourise_labels(labels), found


def attention(stock: Stock) -> Figure:
    """Draw what one cell's token attends to, in the map and in what is drawn of the picture."""
    picture, view, found = _step(stock)
    weights = found.weights.mean(axis=(0, 1))
    on_map = weights[:256].reshape(16, 16)
    on_picture = np.full(256, np.nan)
    on_picture[: weights.size - 256] = weights[256:]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    sides = ((view, on_map, "map"), (picture, on_picture.reshape(16, 16), "picture"))
    for (below, values, what), (plain, heat) in zip(sides, (axes[:2], axes[2:])):
        share = 100 * np.nansum(values)
        plain.imshow(below, interpolation="nearest", extent=(-0.5, 15.5, 15.5, -0.5))
        plain.set_title(f"the {what}", fontsize=9)
        shown = heat.imshow(100 * values, cmap="viridis", interpolation="nearest")
        heat.set_title(f"attention to it: {share:.0f} %", fontsize=9)
        figure.colorbar(shown, ax=heat, shrink=0.7, format="%.2f %%")
    for one in axes:
        one.plot(COLUMN, ROW, marker="s", color="#ff2828", fillstyle="none", markersize=8)
        one.set_xticks([])
        one.set_yticks([])
    return figure


def filters(stock: Stock) -> Figure:
    """Draw the probabilities of one cell's codes, and what temperature, top-k and top-p leave."""
    _, _, found = _step(stock)
    advice = model_row(NAME).sampling or SamplingParams()
    logits = found.logits[: stock.model(NAME).n_embed]
    order = np.argsort(-logits, kind="stable")
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    settings = (
        ("all codes", SamplingParams()),
        (f"top_k={advice.top_k}", SamplingParams(1.0, advice.top_k)),
        (f"top_k={advice.top_k}, top_p={advice.top_p}", advice),
        ("temperature=0.5", SamplingParams(0.5)),
    )
    for axes, (words, params) in zip(figure.subplots(1, 4, sharey=True), settings):
        kept = filter_logits(logits, params)
        chances = np.exp(kept - kept.max())
        chances = 100 * chances[order] / chances.sum()
        axes.fill_between(np.arange(1, SHOWN + 1), chances[:SHOWN], step="mid")
        left = int((chances > 0).sum())
        axes.set_title(f"{words}\n{left} codes left", fontsize=9)
        axes.set(
            xlabel=f"rank of the code, 1 to {SHOWN}",
            yscale="log",
            ylim=(1e-4, 100),
            xlim=(1, SHOWN),
        )
    figure.axes[0].set_ylabel("probability, %")
    return figure

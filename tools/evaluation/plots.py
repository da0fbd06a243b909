"""The report's pictures, drawn by matplotlib without its global state."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure

from official.multimodal.taming_transformer.paths import replacing
from tools.evaluation.codes import CodeUse
from tools.evaluation.measure import Measured, PictureFigures

DPI = 110
_NAMES = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1"}
_LONGEST = 24

Pair = Tuple[PictureFigures, np.ndarray, np.ndarray]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG without empty margins, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(
            temporary,
            format="png",
            dpi=DPI,
            facecolor="white",
            bbox_inches="tight",
            pad_inches=0.05,
        )
    return path


def code_histogram(name: str, use: CodeUse) -> Figure:
    """Draw how often each code occurs, by index and by rank."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    by_index, by_rank = figure.subplots(1, 2)
    share = 100 * use.counts / use.counts.sum()
    by_index.vlines(np.arange(share.size), 0, share, linewidth=0.6)
    by_index.set(xlabel="code", ylabel="share of all cells, %", title=f"{name}: use of each code")
    by_index.set_xlim(-1, share.size)
    by_index.set_ylim(bottom=0)
    ranked = np.sort(share)[::-1]
    by_rank.step(np.arange(1, share.size + 1), ranked, where="mid")
    by_rank.axhline(100 / share.size, linestyle=":", color="grey", label="all equally often")
    by_rank.set(xlabel="rank of the code", ylabel="share of all cells, %", yscale="log")
    by_rank.set_title(f"{use.used} of {share.size} codes occur, perplexity {use.perplexity:.0f}")
    by_rank.legend()
    return figure


def comparison(models: Sequence[Measured]) -> Figure:
    """Draw the spread of the figures over the pictures, model beside model."""
    height = 1.4 + 0.5 * len(models)
    figure = Figure(figsize=(11, height), layout="constrained")
    names = [_short(model.name) for model in models][::-1]
    for axes, (figure_name, label) in zip(figure.subplots(1, 3, sharey=True), _NAMES.items()):
        values = [[getattr(one, figure_name) for one in m.pictures] for m in models][::-1]
        finite = [[value for value in row if np.isfinite(value)] for row in values]
        axes.boxplot(finite, vert=False, widths=0.6)
        axes.set_yticks(range(1, len(names) + 1), names)
        axes.set_xlabel(label)
    return figure


def side_by_side(title: str, pairs: Sequence[Pair]) -> Figure:
    """Draw pictures above their reconstructions, with their figures.

    Args:
        title: Above all.
        pairs: Figures, picture and reconstruction (uint8, H, W, 3) of each.
    """
    columns = len(pairs)
    figure = Figure(figsize=(2.5 * max(columns, 2), 5.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(2, columns, squeeze=False)
    for axes, (found, before, after) in zip(grid.T, pairs):
        for one, picture in zip(axes, (before, after)):
            one.imshow(picture, interpolation="nearest")
            one.set_xticks([])
            one.set_yticks([])
        axes[0].set_title(_short(found.path.name), fontsize=8)
        axes[1].set_xlabel(f"{found.psnr:.2f} dB, SSIM {found.ssim:.3f}", fontsize=8)
    grid[0, 0].set_ylabel("picture")
    grid[1, 0].set_ylabel("reconstruction")
    return figure


def _short(name: str) -> str:
    # matplotlib reads what stands between two dollars as mathematics
    name = name.replace("$", r"\$")
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"

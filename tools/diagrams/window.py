"""Figures of the sliding window: where it stands, what it sees, and a run through it."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from official.multimodal.taming_transformer.animation import outlined
from official.multimodal.taming_transformer.window import Frame, frame_at
from tools.diagrams.stock import Stock

SHAPE, SIDE = (24, 40), 16
CELLS = ((0, 3), (3, 20), (11, 20), (12, 39), (17, 27), (23, 39))
MOMENTS = (50, 150, 250, 370, 470)
"""Cells after which a run is shown; all in the middle of a row of 32."""

AFTER, SEEN, DRAWN, CELL = range(4)
COLOURS = ("#f4f4f4", "#7aa6d8", "#c9c9c9", "#d62828")
WORDS = ("not drawn yet", "drawn, and seen", "drawn, out of sight", "the cell to draw")


def states(row: int, column: int, frame: Frame, shape: tuple[int, int]) -> np.ndarray:
    """Return what each cell is while one is drawn: int (h, w) of AFTER, SEEN, DRAWN and CELL.

    Args:
        row: Of the cell that is drawn.
        column: Of that cell.
        frame: Its window.
        shape: (h, w) of the latent.
    """
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    before = number < row * shape[1] + column
    inside = np.zeros(shape, bool)
    rows = slice(frame.top, frame.top + frame.height)
    inside[rows, frame.left : frame.left + frame.width] = True
    found = np.where(before, np.where(inside, SEEN, DRAWN), AFTER)
    found[row, column] = CELL
    return found


def positions(stock: Stock) -> Figure:
    """Draw the window of several cells of a latent that is larger than it."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    colours = ListedColormap(COLOURS)
    for axes, (row, column) in zip(figure.subplots(2, 3).ravel(), CELLS):
        frame = frame_at(row, column, SHAPE, SIDE, SIDE // 2)
        axes.imshow(states(row, column, frame, SHAPE), cmap=colours, vmin=-0.5, vmax=3.5)
        corner = (frame.left - 0.5, frame.top - 0.5)
        axes.add_patch(Rectangle(corner, frame.width, frame.height, fill=False, linewidth=1.8))
        axes.set_title(f"row {row}, column {column}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    patches = [Patch(facecolor=c, edgecolor="black", label=w) for c, w in zip(COLOURS, WORDS)]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
    return figure


def run(stock: Stock) -> Figure:
    """Draw a run as it stands after some of its cells, with the window."""
    sampler = stock.sampler("scenes_segmentation_transformer")
    pictures = []
    for step in sampler.steps(stock.labels(256)):
        if step.number in MOMENTS:
            picture = sampler.decode(step.indices)[0]
            cell = (step.row, step.column)
            drawn = outlined(picture, step.frame, cell, sampler.model.downsampling)
            pictures.append((drawn, f"{step.number} of {step.total} codes"))
    pictures.append((sampler.decode(step.indices)[0], "all"))
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    grid = figure.subplots(2, 3).ravel()
    for axes, (picture, words) in zip(grid, pictures):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(words, fontsize=9)
    for axes in grid:
        axes.set_axis_off()
    return figure

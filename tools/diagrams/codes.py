"""Figures of the first stage: codes of a picture, the codebook, codes of maps."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from matplotlib.figure import Figure
from megengine import Tensor

from official.multimodal.taming_transformer.labels import colourise_labels, one_hot
from official.multimodal.taming_transformer.maps import colourise_depth, to_batch
from official.multimodal.taming_transformer.palette import label_colours
from official.multimodal.taming_transformer.reconstruction import Reconstruction
from tools.diagrams.stock import SEED, Stock
from tools.evaluation.codes import decode_codes

COLUMNS = 60
"""Codes in a row of the codebook's picture."""


def picture_to_codes(stock: Stock) -> Figure:
    """Draw a picture, its codes as colours, each code decoded alone, and all decoded together."""
    photo = stock.photo()
    rec = Reconstruction(stock.model("scenes_vqgan"))
    codes = rec.encode(photo)
    colours = label_colours(rec.model.n_embed)
    tiles = decode_codes(rec.model, codes.ravel()).reshape(*codes.shape, 8, 8, 3)
    mosaic = tiles.transpose(0, 2, 1, 3, 4).reshape(photo.shape)
    kinds = len(np.unique(codes))
    return _row(
        [
            (photo, f"picture\n{photo.shape[1]}x{photo.shape[0]} pixels"),
            (colours[codes], f"its {_size(codes)} codes,\n{kinds} different ones"),
            (mosaic, "each code decoded\namidst its own kind"),
            (rec.decode(codes), "all codes decoded\ntogether"),
        ]
    )


def codebook(stock: Stock) -> Figure:
    """Draw every code decoded, placed by its vector's first two principal components."""
    model = stock.model("scenes_vqgan")
    every = Tensor(np.arange(model.n_embed, dtype=np.int32)[None, None])
    vectors = model.quantize.lookup(every).numpy()[0, :, 0].T.astype(np.float64)  # (n_embed, dim)
    centred = vectors - vectors.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    places = centred @ axes[:2].T
    tiles = decode_codes(model, np.arange(model.n_embed))
    by_first = np.argsort(places[:, 0], kind="stable")
    lines = [by_first[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    sheet = tiles[np.concatenate([line[np.argsort(places[line, 1])] for line in lines])]
    rows, f = len(lines), sheet.shape[1]
    sheet = np.concatenate([sheet, np.full((rows * COLUMNS - len(sheet), f, f, 3), 255, np.uint8)])
    grid = sheet.reshape(rows, COLUMNS, f, f, 3).transpose(0, 2, 1, 3, 4)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    left.imshow(grid.reshape(rows * f, COLUMNS * f, 3), interpolation="nearest")
    left.set_title(
        f"{model.n_embed} codes decoded: rows by the first component, columns by the second",
        fontsize=9,
    )
    left.set_axis_off()
    colours = tiles.reshape(len(tiles), -1, 3).mean(1) / 255
    right.scatter(*places.T, s=9, c=colours, edgecolors="none")
    right.set_title(fontsize=9, label=f"their {vectors.shape[1]}-dimensional vectors")
    right.set(xlabel="first principal component", ylabel="second")
    return figure


def maps_to_codes(stock: Stock) -> Figure:
    """Draw a label map and a depth map, their codes, and what a transformer made of each."""
    labels, depth = stock.labels(128), stock.depth()
    pictures = []
    for name, view, x, given, seed in (
        ("segmentation", colourise_labels(labels), one_hot(labels, 12), labels, SEED),
        ("depth", colourise_depth(depth), to_batch(depth), depth, 3),  # 2022 is a dark night
    ):
        sampler = stock.sampler(f"scenes_{name}_transformer", seed)
        codes = sampler.model.encode_to_c(Tensor(np.ascontiguousarray(x, np.float32)))[1].numpy()[0]
        drawn = sampler(given).picture
        colours = label_colours(sampler.model.cond_stage_model.n_embed)
        pictures += [
            (view, f"{name} map"),
            (colours[codes], f"its codes,\n{_size(codes)}"),
            (drawn, "a picture drawn\nfrom them"),
        ]
    return _row(pictures)


def _size(codes: np.ndarray) -> str:
    return f"{codes.shape[1]}x{codes.shape[0]}"


def _row(pictures: Sequence[tuple[Any, str]]) -> Figure:
    figure = Figure(figsize=(11, 11 / len(pictures) + 0.7), layout="constrained")
    for axes, (picture, words) in zip(figure.subplots(1, len(pictures)), pictures):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(words, fontsize=9)
        axes.set_axis_off()
    return figure

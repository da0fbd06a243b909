"""Pass pictures of any size through an encoder or decoder in tiles: memory stays bounded.

Convolutions look a few cells far: tiles that overlap by as much give what the whole picture gives.
Normalisation looks at the whole picture: one normalisation after the other, all tiles are computed
up to it, and its means and variances are gathered from them; what every tile is then normalised by
are those of the whole. Attention runs on the whole picture, at the coarse resolutions that have it.
So nothing is approximated: the price is time, one and a half to four times the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Dict, Iterator, Sequence, Tuple

import numpy as np
from megengine import Tensor

from .autoencoder import Decoder, Encoder, run
from .blocks import AttnBlock, Downsample, Head, Layer, ResnetBlock, Upsample
from .host import is_gpu, on_host
from .long_attention import attend
from .norms import GroupNorm, pooled
from .runtime import release_memory
from .tile_grid import Tile, assemble, cover, inside, read

TILE = 1 << 22  # numbers in one activation of a tile: 181x181 cells of 128 channels
KEPT = 1 << 27  # numbers between two sections that are kept in float32: 512 MB
MOST = 1 << 29  # numbers between two resolutions that are kept at all, in float16
LARGE = 1 << 20  # pixels above which a picture runs in tiles where nothing else is asked for

Known = Dict[GroupNorm, Tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Section:
    """Layers that run together on one tile after the other, or one that needs the whole picture.

    Attributes:
        layers: In order.
        shrink: Input cells along one side of an output cell.
        grow: Output cells along one side of an input cell.
    """

    layers: tuple[Layer, ...]
    shrink: int
    grow: int

    @property
    def reach(self) -> int:
        """Cells of the coarse end by which tiles must overlap, to each side."""
        cells = 0
        for layer in reversed(self.layers):
            cells = 0 if isinstance(layer, AttnBlock) else layer.reach(cells)
        return -(-cells // self.shrink)

    @property
    def norms(self) -> list[GroupNorm]:
        """The normalisations, in order."""
        found: list[GroupNorm] = []
        for layer in self.layers:
            if isinstance(layer, ResnetBlock):
                found += [layer.norm1, layer.norm2]
            elif isinstance(layer, Head):
                found.append(layer.norm)
        return found

    @property
    def channels(self) -> int:
        """Most channels of an activation."""
        widths = [norm.weight.shape[0] for norm in self.norms]
        for layer in self.layers:
            if isinstance(layer, (Downsample, Upsample)):
                widths.append(layer.conv.weight.shape[0])
        return int(max(widths))


class _ReachedError(Exception):
    """Ends a pass at the normalisation that it was for."""

    def __init__(self, count: int, mean: np.ndarray, variance: np.ndarray):
        super().__init__()
        self.moments = count, mean, variance


def run_network(network: Encoder | Decoder, x: Tensor, tiled: bool) -> Tensor:
    """Pass pictures or latents (B, C, H, W) through a network, whole or one by one in tiles."""
    if not tiled:
        return network(x)
    device = str(x.device)
    pictures = x.numpy() if is_gpu(device) else on_host(x)
    results = [run_tiled(network.stages(), picture[None], device) for picture in pictures]
    return Tensor(results[0] if len(results) == 1 else np.concatenate(results), device=device)


def run_tiled(stages: Sequence[Sequence[Layer]], x: np.ndarray, device: str) -> np.ndarray:
    """Pass one picture through a network, tile by tile.

    Args:
        stages: The network's layers by resolution (``Encoder.stages``, ``Decoder.stages``).
        x: (1, C, H, W) of the network's dtype; the network's factor divides H and W.
        device: MegEngine device of the network.

    Returns:
        What the network gives for the whole; activations of more than ``KEPT`` numbers have been
        rounded to float16 between resolutions (f16 models: beyond 2048x2048 pixels).
    """
    dtype = x.dtype
    for section in _sections(stages, x.shape[2:]):
        if isinstance(section.layers[0], AttnBlock):
            x = attend(section.layers[0], x.astype(dtype, copy=False), device)
        else:
            x = _run_section(section, x, dtype, device)
        release_memory()  # what came before was of other sizes: nothing fits into its holes
    return x.astype(dtype, copy=False)


def _sections(stages: Sequence[Sequence[Layer]], size: tuple[int, ...]) -> Iterator[Section]:
    """Split the layers at attention, and where the numbers in between can be kept.

    The more sections, the less is computed anew for every normalisation: a residual block of its
    own costs three convolutions instead of two, a stage of seven normalisations four times as many.
    """
    ready: list[Layer] = []
    cells = size[0] * size[1]
    for stage in stages:
        for layer in stage:
            if isinstance(layer, AttnBlock) and ready:
                yield _section(ready)
                ready = []
            ready.append(layer)
            if isinstance(layer, (Downsample, Upsample)):
                section = _section([layer])
                cells = cells * section.grow**2 // section.shrink**2
            if isinstance(layer, AttnBlock) or (
                isinstance(layer, ResnetBlock) and _channels([layer]) * cells <= KEPT
            ):
                yield _section(ready)
                ready = []
        if ready and (stage is stages[-1] or _channels(stage) * cells <= MOST):
            yield _section(ready)
            ready = []


def _section(layers: Sequence[Layer]) -> Section:
    shrink = 2 ** sum(isinstance(layer, Downsample) for layer in layers)
    grow = 2 ** sum(isinstance(layer, Upsample) for layer in layers)
    return Section(tuple(layers), shrink, grow)


def _channels(layers: Sequence[Layer]) -> int:
    """Return the channels that the last residual block gives."""
    return [layer.conv2.weight.shape[0] for layer in layers if isinstance(layer, ResnetBlock)][-1]


def _run_section(section: Section, x: np.ndarray, dtype: np.dtype, device: str) -> np.ndarray:
    """Pass (1, C, H, W) through a section tile by tile."""
    factor = section.shrink * section.grow
    side = max(1, int((TILE / section.channels) ** 0.5) // factor)  # in cells of the coarse end
    cells = x.shape[2] // section.shrink, x.shape[3] // section.shrink
    tiles = cover(cells, side, section.reach)
    known: Known = {}
    for norm in section.norms:
        parts = []
        for tile in tiles:
            try:
                stop = partial(_moments_before, norm, known, tile)
                run(section.layers, read(x, tile, section.shrink, device, dtype), stop)
            except _ReachedError as reached:
                parts.append(reached.moments)
        known[norm] = pooled(parts)
    return assemble(
        lambda part: run(section.layers, part, lambda norm, *_: known[norm]),
        lambda tile: read(x, tile, section.shrink, device, dtype),
        tiles,
        section.grow,
        KEPT,
    )


def _moments_before(
    stop: GroupNorm, known: Known, tile: Tile, norm: GroupNorm, x: Tensor, shift: Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is known of the whole picture, or leave with the moments of (1, C, H, W)."""
    if norm is not stop:
        return known[norm]
    rows, columns = inside(tile, x.shape)
    inner = x[:, :, rows, columns]
    raise _ReachedError(inner.shape[2] * inner.shape[3], *norm.moments(inner, shift))

"""Keys and values of the tokens seen so far: what a cached transformer remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .host import on_host
from .kv_block import KVBlock
from .layers import settle

# Tokens that a cache collects one by one before it closes their run.
TAIL = 16
# Bytes of a segment up to which its neighbour is joined to it whatever their lengths: 4 MB, the
# whole past of one sample in most of the transformers.
SMALL = 1 << 22


Values = Any  # a Tensor or an array


@dataclass(frozen=True)
class Segment:
    """Keys and values of a run of tokens, for a batch of b: all rows of the step, or 1 for all.

    Keys are (b, n_head, head_dim, T), values (b, n_head, T, head_dim): what ``attention.product``
    takes. Both are tensors, or both arrays on the host (``one_token``).
    """

    k: Values
    v: Values

    @property
    def length(self) -> int:
        """Tokens in the run."""
        return int(self.v.shape[2])

    @property
    def batch(self) -> int:
        """Rows that the run is for; one may serve all rows of a batch."""
        return int(self.k.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the run takes."""
        return 2 * int(np.prod(self.k.shape)) * self.k.dtype.itemsize

    @property
    def on_host(self) -> bool:
        """Whether keys and values are arrays."""
        return isinstance(self.k, np.ndarray)

    def beside(self, other: Segment) -> Segment:
        """Return the run as arrays if the other one is, else as tensors on its device."""
        if self.on_host == other.on_host:
            return self
        if other.on_host:
            return Segment(on_host(self.k), on_host(self.v))
        device = str(other.k.device)
        return Segment(*(Tensor(a, device=device, no_cache=True) for a in (self.k, self.v)))


def _join(segments: tuple[Segment, ...]) -> Segment:
    if len(segments) == 1:
        return segments[0]
    concat = np.concatenate if segments[0].on_host else F.concat
    k = concat([s.k for s in segments], axis=3)
    return Segment(k, concat([s.v for s in segments], axis=2))


class KVCache:
    """Keys and values of the tokens seen so far, layer by layer.

    Tensors are never written in place, so ``fork`` costs nothing and a fork can go its own way.
    A prefix computed at batch 1 serves every row of a batch (``freeze`` it first).

    Args:
        n_layer: Layers of the transformer.
    """

    def __init__(self, n_layer: int):
        # of each layer: segments that stay as they are, in blocks; those that are closed; and the
        # newest tokens (one segment or none), which join the closed TAIL at a time
        self._packed: list[tuple[Segment, ...]] = [()] * n_layer
        self._closed: list[tuple[Segment, ...]] = [()] * n_layer
        self._tail: list[tuple[Segment, ...]] = [()] * n_layer
        self._is_packed = False
        self._block: KVBlock | None = None  # while it is filled; nothing is closed or a tail then

    @property
    def length(self) -> int:
        """Tokens held (the same for every layer between two forward passes)."""
        return sum(s.length for s in self._segments(-1))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the keys and values take."""
        return sum(s.nbytes for i in range(len(self._tail)) for s in self._segments(i))

    def fork(self) -> KVCache:
        """Return a cache with the same past and a future of its own."""
        other = KVCache(len(self._closed))
        other._packed, other._closed = list(self._packed), list(self._closed)
        other._tail, other._is_packed = list(self._tail), self._is_packed
        return other

    def freeze(self) -> None:
        """Close the present run: later tokens start a new one, of any batch size."""
        for layer, tail in enumerate(self._tail):
            self._closed[layer] += tail
            self._tail[layer] = ()

    def reserve(self, shape: Sequence[int], device: str) -> None:
        """Have the next tokens lie in one block, on a CPU, float32.

        Nothing happens where the present run may still grow; what is frozen stays as it is.

        Args:
            shape: (B, n_head, head_dim, T): T tokens of B rows, in as many passes as you like.
            device: Where they are.
        """
        if any(self._tail):
            return
        for layer, closed in enumerate(self._closed):
            self._packed[layer] += closed
            self._closed[layer] = ()
        self._block = KVBlock(len(self._tail), shape, device)

    @property
    def is_filling(self) -> bool:
        """Whether tokens are expected in a block."""
        return self._block is not None

    def pack(self) -> None:
        """Lay what is not yet in blocks into one, the first time; later tokens stay beside it.

        For a cache that is kept while others come and go: for the reason that ``kv_block`` tells, a
        heap of kept caches would be half as large again.
        """
        loose = [closed + tail for closed, tail in zip(self._closed, self._tail)]
        arrays = [array for runs in loose for s in runs for array in (s.k, s.v)]
        if self._is_packed or not arrays:
            return
        concat = np.concatenate if isinstance(arrays[0], np.ndarray) else F.concat
        block = concat([array.reshape(-1) for array in arrays])
        ends = np.cumsum([np.prod(array.shape) for array in arrays]).tolist()
        parts = (
            block[start:end].reshape(array.shape)
            for array, start, end in zip(arrays, [0, *ends], ends)
        )
        for layer, runs in enumerate(loose):
            self._packed[layer] += tuple(Segment(next(parts), next(parts)) for _ in runs)
        self._closed = [()] * len(loose)
        self._tail = [()] * len(loose)
        self._is_packed = True

    def extend(self, layer: int, new: Segment) -> tuple[Segment, ...]:
        """Append a run to a layer and return all its segments, the new tokens in the last.

        All are where the run is, on the host or on the device: where the past lay elsewhere it
        moves.
        """
        for runs in (self._packed, self._closed, self._tail):
            runs[layer] = tuple(segment.beside(new) for segment in runs[layer])
        if self._block is not None:
            return self._fill(self._block, layer, new)
        tail = self._tail[layer]
        if tail and (new.length > 1 or tail[0].length + new.length > TAIL):
            self._closed[layer] = _push(self._closed[layer], tail[0])
            tail = ()
        self._tail[layer] = (_join((*tail, new)),)
        return self._segments(layer)

    def _fill(self, block: KVBlock, layer: int, new: Segment) -> tuple[Segment, ...]:
        """Append a run to the block; with its last one, what is in it stays as it is."""
        before = self._segments(layer)
        block.add(layer, new.k, new.v)
        if block.is_full:
            for i in range(len(self._packed)):
                self._packed[i] += (Segment(*block.tensors(i)),)
            self._block = None
        return (*before, new)

    def _segments(self, layer: int) -> tuple[Segment, ...]:
        runs = self._packed[layer] + self._closed[layer] + self._tail[layer]
        if self._block is None or not self._block.holds(layer):
            return runs
        return (*runs, Segment(*self._block.tensors(layer)))


def _push(runs: tuple[Segment, ...], new: Segment) -> tuple[Segment, ...]:
    """Append a run, joining neighbours as a binary counter does: O(T log T) copies in all.

    Small ones are joined at once: a segment less is worth more than the copy.
    """
    while runs and runs[-1].batch == new.batch:
        if runs[-1].length > new.length and runs[-1].nbytes > SMALL:
            break
        new = _join((runs[-1], new))
        runs = runs[:-1]
        if not new.on_host:
            settle(new.v)  # what has been copied is free before the next layer copies
    return (*runs, new)

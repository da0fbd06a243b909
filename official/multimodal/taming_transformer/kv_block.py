"""Keys and values of many tokens, computed part by part, in one block of memory from the start.

Among the other tensors of a pass, many of their size, they would leave holes that are useless:
glibc, asked for aligned memory, looks for 112 bytes more than it takes. A pass over 992 tokens of
S-FLCKR took 190 MB more so.
"""

from __future__ import annotations

from typing import Any, Sequence

import megengine.functional as F
import numpy as np

from .host import on_host, writable


class KVBlock:
    """Room for T tokens of B rows in every layer, on a CPU, float32.

    Args:
        n_layer: Layers of the transformer.
        shape: (B, n_head, head_dim, T).
        device: MegEngine device.
    """

    def __init__(self, n_layer: int, shape: Sequence[int], device: str):
        self._shape = tuple(shape)
        self._memory = [F.zeros((2, int(np.prod(shape))), device=device) for _ in range(n_layer)]
        self._held = [0] * n_layer

    @property
    def is_full(self) -> bool:
        """Whether all tokens of all layers are there."""
        return self._held == [self._shape[3]] * len(self._held)

    def holds(self, layer: int) -> int:
        """Return how many tokens of a layer are there."""
        return self._held[layer]

    def add(self, layer: int, k: Any, v: Any) -> None:
        """Copy keys (B, n_head, head_dim, n) and values (B, n_head, n, head_dim) of the next n."""
        start = self._held[layer]
        tokens = slice(start, start + k.shape[3])
        keys, values = writable(self._memory[layer])
        rows, heads, width, length = self._shape
        keys.reshape(self._shape)[..., tokens] = on_host(k)
        values.reshape(rows, heads, length, width)[:, :, tokens] = on_host(v)
        self._held[layer] = tokens.stop

    def tensors(self, layer: int) -> tuple[Any, Any]:
        """Return keys and values of the tokens that are there, views of the block."""
        rows, heads, width, length = self._shape
        keys, values = (self._memory[layer][i] for i in range(2))
        k, v = keys.reshape(self._shape), values.reshape(rows, heads, length, width)
        held = self._held[layer]
        return (k, v) if held == length else (k[..., :held], v[:, :, :held])

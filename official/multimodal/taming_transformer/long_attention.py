"""Attention over a picture of any size: memory for two parts of it, whatever its length.

Source of the running softmax: Rabe and Staats, "Self-attention does not need O(n^2) memory",
arXiv:2112.05682.
"""

from __future__ import annotations

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .blocks import AttnBlock
from .layers import settle
from .norms import pooled

PART = 1 << 12  # cells taken together, as queries and as keys: 64 MB of scores


def attend(block: AttnBlock, x: np.ndarray, device: str, part: int = PART) -> np.ndarray:
    """Return what an attention block makes of a picture.

    Args:
        block: The block.
        x: (1, C, H, W).
        device: MegEngine device of the block.
        part: Cells whose queries, or keys and values, are held at once.

    Returns:
        (1, C, H, W), as ``block(x)`` up to rounding.
    """
    channels = x.shape[1]
    cells = x.reshape(1, channels, -1, 1)
    starts = range(0, cells.shape[2], part)

    def read(start: int) -> Tensor:
        values = np.ascontiguousarray(cells[:, :, start : start + part])
        return Tensor(values, device=device)

    moments = pooled([_counted(block, read(start)) for start in starts])
    result = np.empty_like(cells)
    for start in starts:
        query = block.q(block.norm.normalise(read(start), *moments)) * channels**-0.5
        query = query.reshape(channels, -1).transpose(1, 0)  # (queries, C)
        top = F.full((query.shape[0], 1), -np.inf, device=device)  # largest score so far
        total = F.zeros((query.shape[0], 1), device=device)
        gathered = F.zeros(query.shape, device=device)
        for other in starts:
            h = block.norm.normalise(read(other), *moments)
            keys, values = (layer(h).reshape(channels, -1) for layer in (block.k, block.v))
            scores = F.matmul(query, keys)
            higher = F.maximum(top, F.max(scores, axis=1, keepdims=True))
            weights, fade = F.exp(scores - higher), F.exp(top - higher)
            total = total * fade + F.sum(weights, axis=1, keepdims=True)
            gathered = gathered * fade + F.matmul(weights, values, transpose_b=True)
            top = higher
            settle(gathered)
        found = (gathered / total).transpose(1, 0).reshape(1, channels, -1, 1)
        result[:, :, start : start + part] = (read(start) + block.proj_out(found)).numpy()
    return result.reshape(x.shape)


def _counted(block: AttnBlock, x: Tensor) -> tuple[int, np.ndarray, np.ndarray]:
    return (x.shape[2], *block.norm.moments(x))

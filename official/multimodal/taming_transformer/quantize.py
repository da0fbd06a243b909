"""Codebooks: from latent vectors to indices and back.

Source: taming/modules/vqvae/quantize.py of CompVis/taming-transformers @3ba01b2, without losses.
"""

from __future__ import annotations

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Tensor

from .layers import Conv2d, Embedding, cast, settle

# Distances or logits held at once: (cells, n_embed) float32, 16 MB.
DISTANCE_CHUNK = 1 << 22


class VectorQuantizer(M.Module):
    """Nearest code by Euclidean distance."""

    def __init__(self, n_embed: int, embed_dim: int):
        super().__init__()
        self.n_embed = n_embed
        self.embedding = Embedding(n_embed, embed_dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize z to (z_q, indices)."""
        indices = self.indices(z)
        return self.lookup(indices), indices

    def indices(self, z: Tensor) -> Tensor:
        """Return int32 (B, h, w) of the codes nearest to z (B, embed_dim, h, w)."""
        b, c, h, w = z.shape
        cells = cast(z, np.float32).transpose(0, 2, 3, 1).reshape(-1, c)  # (B*h*w, C)
        codes = cast(self.embedding.weight, np.float32)  # (n_embed, C)
        lengths = (codes * codes).sum(axis=1).reshape(1, -1)
        rows = max(1, DISTANCE_CHUNK // self.n_embed)
        nearest = []
        for i in range(0, cells.shape[0], rows):
            products = F.matmul(cells[i : i + rows], codes, transpose_b=True)
            # |z|^2 is the same for every code and plays no part in the choice
            nearest.append(settle(F.argmin(lengths - 2 * products, axis=1)))
        return F.concat(nearest, axis=0).reshape(b, h, w)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the codes (B, embed_dim, h, w) of integer indices (B, h, w)."""
        return self.embedding(indices).transpose(0, 3, 1, 2)


class GumbelQuantizer(M.Module):
    """Code of the largest logit.

    The original adds Gumbel noise to the logits, in evaluation too, so that its codes differ from
    run to run; here the noise is left out and the codes are a function of the picture.
    """

    def __init__(self, num_hiddens: int, n_embed: int, embed_dim: int):
        super().__init__()
        self.n_embed = n_embed
        self.proj = Conv2d(num_hiddens, n_embed, 1)
        self.embed = Embedding(n_embed, embed_dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize z to (z_q, indices)."""
        indices = self.indices(z)
        return self.lookup(indices), indices

    def indices(self, z: Tensor) -> Tensor:
        """Return int32 (B, h, w) of the largest logits of z (B, num_hiddens, h, w)."""
        b, _, h, w = z.shape
        rows = max(1, DISTANCE_CHUNK // (b * w * self.n_embed))
        best = []
        for i in range(0, h, rows):
            best.append(settle(F.argmax(self.proj(z[:, :, i : i + rows]), axis=1)))
        return F.concat(best, axis=1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the codes (B, embed_dim, h, w) of integer indices (B, h, w)."""
        return self.embed(indices).transpose(0, 3, 1, 2)

"""The codes of a VQGAN: a grid to begin with, fitted to the latents in the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Codebook(nn.Module):
    """The nearest code to each vector; the codes start as a grid.

    The grid is not learnt, so no code can die and no dimension can collapse, and what reads the
    state dict sees an ordinary codebook. Source: Mentzer et al. 2023, Finite Scalar Quantization
    (arXiv 2309.15505), without its bounding function: the nearest code of a grid is bounded.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        axes = [torch.arange(n) - (n - 1) / 2 for n in levels]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        self.embedding = nn.Embedding.from_pretrained(grid, freeze=True)  # (n_embed, embed_dim)
        reach = torch.tensor([(n - 1) / 2 for n in levels]).view(-1, 1, 1)
        self.register_buffer("reach", reach, persistent=False)  # the outermost codes

    def nearest(self, z: Tensor) -> Tensor:
        """Indices (B, h, w) of the codes nearest to latents (B, embed_dim, h, w)."""
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        return self._choose(flat).view(z.shape[0], *z.shape[2:])

    def _choose(self, vectors: Tensor) -> Tensor:
        codes = self.embedding.weight
        return (codes.square().sum(1) - 2.0 * vectors @ codes.t()).argmin(1)

    @torch.no_grad()
    def fit(self, vectors: Tensor, rounds: int = 15) -> None:
        """Move the codes to where the latents are: k-means over vectors (n, embed_dim)."""
        codes = self.embedding.weight
        for _ in range(rounds):
            chosen = self._choose(vectors)
            count = torch.bincount(chosen, minlength=len(codes))[:, None]
            total = torch.zeros_like(codes).index_add_(0, chosen, vectors)
            lost = count[:, 0] == 0
            fresh = torch.randint(len(vectors), (int(lost.sum()),), device=vectors.device)
            codes.copy_(total / count.clamp(min=1))
            codes[lost] = vectors[fresh]

    def forward(self, indices: Tensor) -> Tensor:
        """Codes (B, embed_dim, h, w) of indices (B, h, w)."""
        return self.embedding(indices).permute(0, 3, 1, 2)

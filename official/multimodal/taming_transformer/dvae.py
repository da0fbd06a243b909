"""OpenAI's discrete VAE (the tokenizer of DALL-E), behind the interface of a VQGAN.

Source: dall_e/encoder.py, decoder.py and utils.py of openai/DALL-E @5be4b23.
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .config import DVAEConfig
from .dvae_blocks import GROUPS, Blocks, Half
from .layers import Network, cast
from .tile_grid import assemble, cover, read
from .tiles import LARGE
from .vqgan import check_indices, check_picture

# The logit-Laplace likelihood keeps pixels away from 0 and 1 by this much.
LOGIT_LAPLACE_EPS = 0.1
TILE = 32  # cells along a side of a tile


class DVAE(Network):
    """OpenAI's dVAE: 8192 codes, f = 8, deterministic (argmax) codes.

    Pictures are in [-1, 1] as for every model here; OpenAI's own pixel mapping happens inside.
    State-dict names are OpenAI's behind ``encoder.`` and ``decoder.``.

    Args:
        config: Shapes of the nets.
    """

    in_channels = 3
    downsampling = 2 ** (GROUPS - 1)

    def __init__(self, config: DVAEConfig):
        super().__init__()
        n = config.n_hid
        self.config = config
        self.encoder = Half(Blocks([n, n, 2 * n, 4 * n, 8 * n], config.n_embed, config, True))
        self.decoder = Half(Blocks([config.n_init, 8 * n, 4 * n, 2 * n, n], 6, config, False))

    @property
    def resolution(self) -> int:
        """Side in pixels of the pictures that the model was trained on."""
        return self.config.resolution

    @property
    def n_embed(self) -> int:
        """Codes in the codebook."""
        return self.config.n_embed

    def encode_to_prequant(self, x: Tensor) -> Tensor:
        """Return the logits (B, n_embed, H/8, W/8) of pictures (B, 3, H, W) in [-1, 1].

        All at once, whatever the size: they are 8192 numbers a cell.

        Raises:
            ValueError: The shape is not (B, 3, H, W) with multiples of 8.
        """
        check_picture(x, self.in_channels, self.downsampling)
        low, span = LOGIT_LAPLACE_EPS, 1 - 2 * LOGIT_LAPLACE_EPS
        blocks = self.encoder.blocks
        return blocks(blocks.input(cast((x + 1) * (span / 2) + low, self.dtype)))

    def encode(self, x: Tensor, tiled: bool | None = None) -> tuple[Tensor, Tensor]:
        """Encode and quantize.

        Args:
            x: Pictures (B, 3, H, W) in [-1, 1].
            tiled: Run in tiles, with bounded memory and the same result; ``None``: if the pictures
                have more than 1024x1024 pixels.

        Returns:
            ``z_q`` (B, n_init, H/8, W/8), the decoder's first layer on the one-hot codes, and
            int32 indices (B, H/8, W/8).

        Raises:
            ValueError: As ``encode_to_prequant``.
        """
        check_picture(x, self.in_channels, self.downsampling)
        if x.shape[2] * x.shape[3] > LARGE if tiled is None else tiled:
            indices = self._in_tiles(self._codes, x, shrink=self.downsampling)
        else:
            indices = self._codes(x)
        return self.lookup(indices), indices

    def _codes(self, x: Tensor) -> Tensor:
        return F.argmax(self.encode_to_prequant(x), axis=1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return ``z_q`` (B, n_init, h, w) of integer indices (B, h, w).

        A 1x1 convolution of one-hot codes is a look-up of the weight's columns.
        """
        layer = self.decoder.blocks.input
        table = layer.w.reshape(layer.w.shape[0], -1).transpose(1, 0)  # (n_embed, n_init)
        return F.embedding(indices, table).transpose(0, 3, 1, 2) + layer.b.reshape(1, -1, 1, 1)

    def decode(self, z_q: Tensor, tiled: bool | None = None) -> Tensor:
        """Decode ``z_q`` (B, n_init, h, w) to pictures (B, 3, 8h, 8w) in [-1, 1].

        ``tiled`` as for ``encode``.

        Raises:
            ValueError: The shape is not the model's.
        """
        if z_q.ndim != 4 or z_q.shape[1] != self.config.n_init:
            raise ValueError(
                f"got a latent of shape {tuple(z_q.shape)}, "
                f"expected (B, {self.config.n_init}, h, w)"
            )
        if tiled is None:
            tiled = z_q.shape[2] * z_q.shape[3] * self.downsampling**2 > LARGE
        if tiled:
            return self._in_tiles(self._pixels, z_q, grow=self.downsampling)
        return self._pixels(z_q)

    def _pixels(self, z_q: Tensor) -> Tensor:
        pixels = F.sigmoid(cast(self.decoder.blocks(cast(z_q, self.dtype)), np.float32)[:, :3])
        low, span = LOGIT_LAPLACE_EPS, 1 - 2 * LOGIT_LAPLACE_EPS
        return F.clip((pixels - low) / span, 0, 1) * 2 - 1

    def decode_code(self, indices: Tensor, tiled: bool | None = None) -> Tensor:
        """Decode integer indices (B, h, w) in 0 .. n_embed - 1 to pictures (B, 3, 8h, 8w).

        ``tiled`` as for ``encode``.

        Raises:
            ValueError: The shape is not (B, h, w), or an index is outside the codebook.
        """
        check_indices(indices, self.n_embed)
        return self.decode(self.lookup(indices), tiled)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct pictures (B, 3, H, W) through the codebook."""
        return self.decode(self.encode(x)[0])

    def _in_tiles(
        self, network: Callable[[Tensor], Tensor], x: Tensor, shrink: int = 1, grow: int = 1
    ) -> Tensor:
        """Pass (B, C, H, W) through convolutions alone, picture by picture and tile by tile."""
        # every block has three 3x3 convolutions, at 1, 2, 4 or 8 pixels a cell; the input has 7x7
        reach = -(-(3 + 45 * self.config.n_blk_per_group) // self.downsampling)
        tiles = cover((x.shape[2] // shrink, x.shape[3] // shrink), TILE, reach)
        device, results = str(x.device), []
        for i in range(x.shape[0]):
            part = partial(read, x[i : i + 1].numpy(), scale=shrink, device=device)
            results.append(assemble(network, part, tiles, grow))
        return Tensor(np.concatenate(results), device=device)

"""VQGAN: pictures to codes and back.

Source: taming/models/vqgan.py of CompVis/taming-transformers @3ba01b2 and, for the models of
latent-diffusion, ldm/models/autoencoder.py of CompVis/latent-diffusion @a506df5.
"""

from __future__ import annotations

import megengine.functional as F
import numpy as np
from megengine import Tensor

from .autoencoder import Decoder, Encoder
from .config import VQModelConfig
from .layers import Conv2d, Network, cast
from .quantize import GumbelQuantizer, VectorQuantizer
from .tiles import LARGE, run_network


class VQModel(Network):
    """A VQGAN with the nearest-code quantizer.

    Any batch, and any height and width that ``downsampling`` divides. Parameters are declared, not
    filled: builders and ``loading.load_tensors`` give them values.

    Args:
        config: Shapes of the nets and the codebook.
    """

    def __init__(self, config: VQModelConfig):
        super().__init__()
        dd = config.ddconfig
        self.config = config
        self.encoder = Encoder(dd)
        self.decoder = Decoder(dd)
        self.quantize = self._make_quantizer(config)
        self.quant_conv = Conv2d(dd.z_channels, self._prequant_channels(config), 1)
        self.post_quant_conv = Conv2d(config.embed_dim, dd.z_channels, 1)

    @staticmethod
    def _make_quantizer(config: VQModelConfig) -> VectorQuantizer | GumbelQuantizer:
        return VectorQuantizer(config.n_embed, config.embed_dim)

    @staticmethod
    def _prequant_channels(config: VQModelConfig) -> int:
        return config.embed_dim

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent cell."""
        return self.config.ddconfig.downsampling

    @property
    def resolution(self) -> int:
        """Side in pixels of the pictures that the model was trained on."""
        return self.config.ddconfig.resolution

    @property
    def in_channels(self) -> int:
        """Channels of the picture or map."""
        return self.config.ddconfig.in_channels

    @property
    def n_embed(self) -> int:
        """Codes in the codebook."""
        return self.config.n_embed

    def encode_to_prequant(self, x: Tensor, tiled: bool | None = None) -> Tensor:
        """Encode without quantizing.

        Args:
            x: Pictures (B, in_channels, H, W) in [-1, 1], or one-hot maps in {0, 1}.
            tiled: Run in tiles, with bounded memory and the same result (``tiles``); ``None``: if
                the pictures have more than 1024x1024 pixels.

        Returns:
            Latent (B, embed_dim, H/f, W/f).

        Raises:
            ValueError: The shape is not the model's, or f does not divide H and W.
        """
        check_picture(x, self.in_channels, self.downsampling)
        tiled = x.shape[2] * x.shape[3] > LARGE if tiled is None else tiled
        return self.quant_conv(run_network(self.encoder, cast(x, self.dtype), tiled))

    def encode(self, x: Tensor, tiled: bool | None = None) -> tuple[Tensor, Tensor]:
        """Encode and quantize.

        Args:
            x: As for ``encode_to_prequant``.
            tiled: As for ``encode_to_prequant``.

        Returns:
            Quantized latent (B, embed_dim, H/f, W/f) and int32 indices (B, H/f, W/f).

        Raises:
            ValueError: As ``encode_to_prequant``.
        """
        return self.quantize(self.encode_to_prequant(x, tiled))

    def decode(self, z_q: Tensor, tiled: bool | None = None) -> Tensor:
        """Decode a quantized latent (B, embed_dim, h, w) to pictures (B, out_ch, f*h, f*w).

        Values are float32, about [-1, 1] and not clipped. ``tiled`` as for ``encode_to_prequant``.

        Raises:
            ValueError: The shape is not the model's.
        """
        if z_q.ndim != 4 or z_q.shape[1] != self.config.embed_dim:
            raise ValueError(
                f"got a latent of shape {tuple(z_q.shape)}, "
                f"expected (B, {self.config.embed_dim}, h, w)"
            )
        if tiled is None:
            tiled = z_q.shape[2] * z_q.shape[3] * self.downsampling**2 > LARGE
        z = self.post_quant_conv(cast(z_q, self.dtype))
        return cast(run_network(self.decoder, z, tiled), np.float32)

    def decode_code(self, indices: Tensor, tiled: bool | None = None) -> Tensor:
        """Decode integer indices (B, h, w) in 0 .. n_embed - 1 to pictures (B, out_ch, f*h, f*w).

        ``tiled`` as for ``encode_to_prequant``.

        Raises:
            ValueError: The shape is not (B, h, w), or an index is outside the codebook.
        """
        check_indices(indices, self.n_embed)
        return self.decode(self.quantize.lookup(indices), tiled)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct pictures (B, in_channels, H, W) through the codebook."""
        return self.decode(self.encode(x)[0])


class GumbelVQ(VQModel):
    """A VQGAN with the Gumbel quantizer; codes are the argmax of the logits (no noise)."""

    @staticmethod
    def _make_quantizer(config: VQModelConfig) -> GumbelQuantizer:
        return GumbelQuantizer(config.ddconfig.z_channels, config.n_embed, config.embed_dim)

    @staticmethod
    def _prequant_channels(config: VQModelConfig) -> int:
        return config.ddconfig.z_channels


def build_vqgan(config: VQModelConfig) -> VQModel:
    """Return the unfilled network that the configuration describes."""
    return GumbelVQ(config) if config.gumbel else VQModel(config)


def check_picture(x: Tensor, channels: int, factor: int) -> None:
    """Refuse pictures that are not (B, channels, H, W) with H and W multiples of factor."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"got a picture of shape {tuple(x.shape)}, expected (B, {channels}, H, W)")
    h, w = x.shape[2:]
    if h % factor or w % factor or not h or not w:
        raise ValueError(
            f"height {h} and width {w} must be multiples of {factor}: pad or crop the picture"
        )


def check_indices(indices: Tensor, n_embed: int) -> None:
    """Refuse indices that are not integers (B, h, w) inside the codebook."""
    kind = np.dtype(indices.dtype).kind
    if indices.ndim != 3 or kind not in "iu":
        raise ValueError(
            f"got indices of shape {tuple(indices.shape)} and dtype {indices.dtype}, "
            "expected integers (B, h, w)"
        )
    low, high = int(F.min(indices).numpy()), int(F.max(indices).numpy())
    if low < 0 or high >= n_embed:
        raise ValueError(f"indices span {low}..{high}, expected 0..{n_embed - 1}")

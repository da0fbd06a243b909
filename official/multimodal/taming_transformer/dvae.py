"""OpenAI's discrete VAE (the tokenizer of DALL-E), behind the interface of a VQGAN.

Source: dall_e/encoder.py, decoder.py and utils.py of openai/DALL-E @5be4b23.
"""

from __future__ import annotations

import megengine.functional as F
import megengine.module as M
import numpy as np
from megengine import Tensor

from .config import DVAEConfig
from .layers import Network, cast, declare, double, settle
from .vqgan import check_indices, check_picture

# The logit-Laplace likelihood keeps pixels away from 0 and 1 by this much.
LOGIT_LAPLACE_EPS = 0.1
GROUPS = 4


class Conv(M.Module):
    """A square convolution whose parameters are called ``w`` and ``b``, as in the checkpoint."""

    def __init__(self, n_in: int, n_out: int, kernel: int):
        super().__init__()
        self.padding = (kernel - 1) // 2
        self.w = declare(n_out, n_in, kernel, kernel)
        self.b = declare(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H, W)."""
        return F.conv2d(x, self.w, self.b.reshape(1, -1, 1, 1), padding=self.padding)


class ResPath(M.Module):
    """Four convolutions, each after a ReLU."""

    def __init__(self, n_in: int, n_out: int, kernels: tuple[int, ...]):
        super().__init__()
        hidden = n_out // 4
        widths = (n_in, hidden, hidden, hidden, n_out)
        self.conv_1 = Conv(widths[0], widths[1], kernels[0])
        self.conv_2 = Conv(widths[1], widths[2], kernels[1])
        self.conv_3 = Conv(widths[2], widths[3], kernels[2])
        self.conv_4 = Conv(widths[3], widths[4], kernels[3])

    def forward(self, x: Tensor) -> Tensor:
        """Run the path."""
        for conv in (self.conv_1, self.conv_2, self.conv_3, self.conv_4):
            x = conv(F.relu(x))
        return x


class Block(M.Module):
    """Residual block: ``id_path(x) + post_gain * res_path(x)``."""

    def __init__(self, n_in: int, n_out: int, kernels: tuple[int, ...], post_gain: float):
        super().__init__()
        self.post_gain = post_gain
        self.changes_width = n_in != n_out
        if self.changes_width:
            self.id_path = Conv(n_in, n_out, 1)
        self.res_path = ResPath(n_in, n_out, kernels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H, W)."""
        shortcut = self.id_path(x) if self.changes_width else x
        return shortcut + self.post_gain * self.res_path(x)


class Group(M.Module):
    """The blocks of one resolution, ``block_1`` and on."""

    def __init__(self, n_in: int, n_out: int, count: int, kernels: tuple[int, ...], gain: float):
        super().__init__()
        self.count = count
        for i in range(count):
            setattr(self, f"block_{i + 1}", Block(n_in if i == 0 else n_out, n_out, kernels, gain))

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks."""
        for i in range(self.count):
            x = settle(getattr(self, f"block_{i + 1}")(x))
        return x


class Output(M.Module):
    """ReLU and a 1x1 convolution."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv = Conv(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in, h, w) to (B, n_out, h, w)."""
        return self.conv(F.relu(x))


class Blocks(M.Module):
    """Input convolution, four groups with a resize after the first three, output."""

    def __init__(self, widths: list[int], n_out: int, config: DVAEConfig, encoder: bool):
        super().__init__()
        kernels = (3, 3, 3, 1) if encoder else (1, 3, 3, 3)
        gain = 1 / (GROUPS * config.n_blk_per_group) ** 2
        self.encoder = encoder
        self.input = Conv(3, widths[0], 7) if encoder else Conv(config.n_embed, widths[0], 1)
        for i in range(GROUPS):
            group = Group(widths[i], widths[i + 1], config.n_blk_per_group, kernels, gain)
            setattr(self, f"group_{i + 1}", group)
        self.output = Output(widths[-1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Run the groups and the output on the input convolution's result."""
        for i in range(GROUPS):
            x = getattr(self, f"group_{i + 1}")(x)
            if i < GROUPS - 1:
                x = F.max_pool2d(x, 2, 2) if self.encoder else double(x)
        return self.output(x)


class Half(M.Module):
    """Holds ``blocks``, the name that OpenAI's files give to everything."""

    def __init__(self, blocks: Blocks):
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks."""
        return self.blocks(x)


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

        Raises:
            ValueError: The shape is not (B, 3, H, W) with multiples of 8.
        """
        check_picture(x, self.in_channels, self.downsampling)
        low, span = LOGIT_LAPLACE_EPS, 1 - 2 * LOGIT_LAPLACE_EPS
        blocks = self.encoder.blocks
        return blocks(blocks.input(cast((x + 1) * (span / 2) + low, self.dtype)))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and quantize.

        Args:
            x: Pictures (B, 3, H, W) in [-1, 1].

        Returns:
            ``z_q`` (B, n_init, H/8, W/8), the decoder's first layer on the one-hot codes, and
            int32 indices (B, H/8, W/8).

        Raises:
            ValueError: As ``encode_to_prequant``.
        """
        indices = F.argmax(self.encode_to_prequant(x), axis=1)
        return self.lookup(indices), indices

    def lookup(self, indices: Tensor) -> Tensor:
        """Return ``z_q`` (B, n_init, h, w) of integer indices (B, h, w).

        A 1x1 convolution of one-hot codes is a look-up of the weight's columns.
        """
        layer = self.decoder.blocks.input
        table = layer.w.reshape(layer.w.shape[0], -1).transpose(1, 0)  # (n_embed, n_init)
        return F.embedding(indices, table).transpose(0, 3, 1, 2) + layer.b.reshape(1, -1, 1, 1)

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode ``z_q`` (B, n_init, h, w) to pictures (B, 3, 8h, 8w) in [-1, 1].

        Raises:
            ValueError: The shape is not the model's.
        """
        if z_q.ndim != 4 or z_q.shape[1] != self.config.n_init:
            raise ValueError(
                f"got a latent of shape {tuple(z_q.shape)}, "
                f"expected (B, {self.config.n_init}, h, w)"
            )
        pixels = F.sigmoid(cast(self.decoder.blocks(cast(z_q, self.dtype)), np.float32)[:, :3])
        low, span = LOGIT_LAPLACE_EPS, 1 - 2 * LOGIT_LAPLACE_EPS
        return F.clip((pixels - low) / span, 0, 1) * 2 - 1

    def decode_code(self, indices: Tensor) -> Tensor:
        """Decode integer indices (B, h, w) in 0 .. n_embed - 1 to pictures (B, 3, 8h, 8w).

        Raises:
            ValueError: The shape is not (B, h, w), or an index is outside the codebook.
        """
        check_indices(indices, self.n_embed)
        return self.decode(self.lookup(indices))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct pictures (B, 3, H, W) through the codebook."""
        return self.decode(self.encode(x)[0])

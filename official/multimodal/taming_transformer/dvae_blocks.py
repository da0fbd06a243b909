"""The layers of OpenAI's discrete VAE, with the names of its files.

Source: dall_e/encoder.py, decoder.py and utils.py of openai/DALL-E @5be4b23.
"""

from __future__ import annotations

import megengine.functional as F
import megengine.module as M
from megengine import Tensor

from .config import DVAEConfig
from .layers import double, settle
from .parameters import declare

GROUPS = 4
"""Groups of blocks in either half, each at a resolution of its own."""


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

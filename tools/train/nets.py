"""The VQGAN in PyTorch, with the names and shapes of the original's state dict.

Source: CompVis taming-transformers, taming/modules/diffusionmodules/model.py and
taming/models/vqgan.py; written anew without what training here does not use.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from codebook import Codebook


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a VQGAN, named as in the original's YAML files, and the levels of its codes."""

    ch: int = 32
    ch_mult: tuple[int, ...] = (1, 1, 2, 4)
    num_res_blocks: int = 1
    attn_resolutions: tuple[int, ...] = (16,)
    z_channels: int = 64
    resolution: int = 128
    in_channels: int = 3
    out_ch: int = 3
    levels: tuple[int, ...] = (8, 8, 6, 5)

    @property
    def n_embed(self) -> int:
        """Number of codes."""
        return math.prod(self.levels)

    @property
    def embed_dim(self) -> int:
        """Length of a code."""
        return len(self.levels)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> VQGANConfig:
        """Rebuild the sizes from `as_dict`."""
        plain: dict[str, Any] = {k: tuple(v) if type(v) is list else v for k, v in values.items()}
        return cls(**plain)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(cin), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = _norm(cout), nn.Conv2d(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = nn.Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on (B, C, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Attention of one head over all places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on (B, C, H, W)."""
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))  # (B, HW, C)
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class _Resample(nn.Module):
    def __init__(self, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(channels, channels, 3, *((2, 0) if down else (1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on (B, C, H, W)."""
        if self.down:
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Level(nn.Module):
    """Blocks at one resolution, then a change of it."""

    def __init__(self, cin: int, cout: int, blocks: int, attention: bool, resample: str) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(cin if i == 0 else cout, cout) for i in range(blocks)
        )
        self.attn = nn.ModuleList(AttnBlock(cout) for _ in range(blocks if attention else 0))
        if resample:
            self.add_module(resample, _Resample(cout, down=resample == "downsample"))
        self.resample = resample

    def forward(self, h: Tensor) -> Tensor:
        """Run the network on (B, C, h, w)."""
        for i, block in enumerate(self.block):
            h = block(h)
            h = self.attn[i](h) if len(self.attn) else h
        return self.get_submodule(self.resample)(h) if self.resample else h


class _Mid(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = ResnetBlock(channels, channels), AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        """Run the network on (B, C, h, w)."""
        return self.block_2(self.attn_1(self.block_1(h)))


class Encoder(nn.Module):
    """Picture (B, in_channels, H, W) to (B, z_channels, H/f, W/f)."""

    def __init__(self, c: VQGANConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(c.in_channels, c.ch, 3, padding=1)
        widths = [c.ch, *(c.ch * m for m in c.ch_mult)]
        last = len(c.ch_mult) - 1
        self.down = nn.ModuleList(
            _Level(
                widths[i], widths[i + 1], c.num_res_blocks,
                c.resolution >> i in c.attn_resolutions, "downsample" if i < last else "",
            )
            for i in range(last + 1)
        )  # fmt: skip
        self.mid = _Mid(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], c.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on (B, C, H, W)."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """The way back from (B, z_channels, h, w)."""

    def __init__(self, c: VQGANConfig) -> None:
        super().__init__()
        widths = [c.ch * m for m in c.ch_mult]
        widths = [*widths, widths[-1]]
        last = len(c.ch_mult) - 1
        self.conv_in = nn.Conv2d(c.z_channels, widths[-1], 3, padding=1)
        self.mid = _Mid(widths[-1])
        self.up = nn.ModuleList(  # index 0 is the finest, as in the original
            _Level(
                widths[i + 1], widths[i], c.num_res_blocks + 1,
                c.resolution >> i in c.attn_resolutions, "upsample" if i > 0 else "",
            )
            for i in range(last + 1)
        )  # fmt: skip
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], c.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Run the network on (B, C, h, w)."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class VQModel(nn.Module):
    """Encoder, codebook, decoder."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantize = Codebook(config.levels)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def latent(self, x: Tensor) -> Tensor:
        """(B, embed_dim, h, w) before quantization."""
        return self.quant_conv(self.encoder(x))

    def codes(self, x: Tensor) -> Tensor:
        """Indices (B, h, w) of pictures (B, in_channels, H, W) in [-1, 1]."""
        return self.quantize.nearest(self.latent(x).float())

    def decode(self, z: Tensor) -> Tensor:
        """Pictures from vectors (B, embed_dim, h, w)."""
        return self.decoder(self.post_quant_conv(z))

    def decode_codes(self, indices: Tensor) -> Tensor:
        """Pictures from indices (B, h, w)."""
        return self.decode(self.quantize(indices))

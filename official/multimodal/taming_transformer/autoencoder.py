"""The convolutional encoder and decoder of a VQGAN, with the original's module names.

Source: taming/modules/diffusionmodules/model.py of CompVis/taming-transformers @3ba01b2, pruned to
what inference runs; ``attn_type="none"`` is from CompVis/latent-diffusion @a506df5.
"""

from __future__ import annotations

from itertools import chain
from typing import Iterable, Iterator

import megengine.module as M
from megengine import Tensor

from .blocks import AttnBlock, Downsample, Head, Layer, Moments, ResnetBlock, Upsample
from .config import DDConfig
from .layers import MAPPED, Conv2d, Network, on_cpu, settle
from .norms import GroupNorm
from .runtime import release_memory


class Level(Network):
    """The blocks of one resolution, each followed by attention where the level has it."""

    def __init__(self, channels: list[tuple[int, int]], attention: bool):
        super().__init__()
        self.block = [ResnetBlock(*pair) for pair in channels]
        self.attn = [AttnBlock(out) for _, out in channels] if attention else []

    def layers(self) -> Iterator[Layer]:
        """Yield what the level consists of, in order: whoever runs it holds one activation."""
        for i, block in enumerate(self.block):
            yield block
            if self.attn:
                yield self.attn[i]


class Middle(Network):
    """Block, attention, block at the coarsest resolution."""

    def __init__(self, channels: int, attention: bool):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        if attention:
            self.attn_1 = AttnBlock(channels)
        self.has_attention = attention
        self.block_2 = ResnetBlock(channels, channels)

    def layers(self) -> Iterator[Layer]:
        """Yield the three, in order."""
        yield self.block_1
        if self.has_attention:
            yield self.attn_1
        yield self.block_2


def _has_attention(config: DDConfig, level: int) -> bool:
    """Attention sits where the nominal resolution says, whatever the picture's size."""
    return config.attn_type != "none" and config.resolution >> level in config.attn_resolutions


class Encoder(M.Module):
    """Picture (B, in_channels, H, W) to latent (B, z_channels, H/f, W/f)."""

    def __init__(self, config: DDConfig):
        super().__init__()
        last = len(config.ch_mult) - 1
        self.conv_in = Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = []
        width = config.ch
        for i, mult in enumerate(config.ch_mult):
            out = config.ch * mult
            pairs = [(width, out)] + [(out, out)] * (config.num_res_blocks - 1)
            level = Level(pairs, _has_attention(config, i))
            width = out
            if i != last:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = Middle(width, config.attn_type != "none")
        self.norm_out = GroupNorm(width)
        self.conv_out = Conv2d(width, config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode; one activation is alive at a time."""
        return run(chain.from_iterable(self.stages()), x)

    def stages(self) -> list[list[Layer]]:
        """Return the layers in order, by resolution; every stage but the last halves it."""
        stages: list[list[Layer]] = [[self.conv_in]]
        for level in self.down:
            stages[-1] += level.layers()
            if level is not self.down[-1]:
                stages[-1].append(level.downsample)
                stages.append([])
        stages[-1] += [*self.mid.layers(), Head(self.norm_out, self.conv_out)]
        return stages


class Decoder(M.Module):
    """Latent (B, z_channels, h, w) to picture (B, out_ch, f*h, f*w)."""

    def __init__(self, config: DDConfig):
        super().__init__()
        width = config.ch * config.ch_mult[-1]
        self.conv_in = Conv2d(config.z_channels, width, 3, padding=1)
        self.mid = Middle(width, config.attn_type != "none")
        levels = []
        for i, mult in reversed(list(enumerate(config.ch_mult))):
            out = config.ch * mult
            pairs = [(width, out)] + [(out, out)] * config.num_res_blocks
            level = Level(pairs, _has_attention(config, i))
            width = out
            if i != 0:
                level.upsample = Upsample(width)
            levels.append(level)
        self.up = levels[::-1]  # as in the state dict: index 0 is the finest level
        self.norm_out = GroupNorm(width)
        self.conv_out = Conv2d(width, config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Decode; one activation is alive at a time."""
        return run(chain.from_iterable(self.stages()), z)

    def stages(self) -> list[list[Layer]]:
        """Return the layers in order, by resolution; every stage but the first doubles it."""
        stages: list[list[Layer]] = [[self.conv_in, *self.mid.layers()]]
        for level in reversed(self.up):
            stages[-1] += level.layers()
            if level is not self.up[0]:
                stages.append([level.upsample])
        stages[-1].append(Head(self.norm_out, self.conv_out))
        return stages


def run(layers: Iterable[Layer], x: Tensor, moments: Moments | None = None) -> Tensor:
    """Pass x through layers in order.

    Args:
        layers: Blocks of this network.
        x: (B, C, H, W).
        moments: Gives other means and variances to normalise by than the activations' own.
    """
    for layer in layers:
        if isinstance(layer, ResnetBlock):
            # by its name: a pass that ends in the middle would leave MegEngine's calls half open
            x = layer.forward(x, moments)
        else:
            x = layer(x, moments) if isinstance(layer, Head) else layer(x)
        if isinstance(layer, Upsample) and on_cpu(x, MAPPED):
            settle(x)  # what it was made from is free now
            release_memory()
    return x

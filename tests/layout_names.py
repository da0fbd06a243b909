"""The names of a VQGAN's tensors in three layouts, written down in the order in which they run.

Independent of the converter: it goes by the configuration, not by names. The other layouts' names
are those of MegEngine/Models @78882f9 and of diffusers 0.32, read from their module definitions.
"""

from __future__ import annotations

from typing import Iterator

import numpy as np

from official.multimodal.taming_transformer.config import DDConfig, VQModelConfig


def _resnet(ours: str, port: str, theirs: str, changes: bool) -> Iterator[tuple[str, str, str]]:
    yield f"{ours}.norm1", f"{port}.block1.0", f"{theirs}.norm1"
    yield f"{ours}.conv1", f"{port}.block1.2", f"{theirs}.conv1"
    yield f"{ours}.norm2", f"{port}.block2.0", f"{theirs}.norm2"
    yield f"{ours}.conv2", f"{port}.block2.3", f"{theirs}.conv2"
    if changes:
        yield f"{ours}.nin_shortcut", f"{port}.short_cut", f"{theirs}.conv_shortcut"


def _attention(ours: str, port: str, theirs: str) -> Iterator[tuple[str, str, str]]:
    yield f"{ours}.norm", f"{port}.attn.group_norm", f"{theirs}.group_norm"
    for letter in "qkv":
        yield f"{ours}.{letter}", f"{port}.attn.proj_{letter}", f"{theirs}.to_{letter}"
    yield f"{ours}.proj_out", f"{port}.attn.proj", f"{theirs}.to_out.0"


def _middle(side: str, attention: bool) -> Iterator[tuple[str, str, str]]:
    port, theirs = f"{side}.middleblocks", f"{side}.mid_block"
    yield from _resnet(f"{side}.mid.block_1", f"{port}.0", f"{theirs}.resnets.0", False)
    if attention:
        yield from _attention(f"{side}.mid.attn_1", f"{port}.0", f"{theirs}.attentions.0")
    yield from _resnet(f"{side}.mid.block_2", f"{port}.1", f"{theirs}.resnets.1", False)


def _level(
    side: str, level: int, step: int, index: int, widths: list[int], attention: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield the blocks of one resolution; ``widths`` are those between the blocks."""
    ours, port, theirs = (
        ("encoder.down", "encoder.downblocks", "encoder.down_blocks")
        if side == "encoder"
        else ("decoder.up", "decoder.upblocks", "decoder.up_blocks")
    )
    for block, (before, after) in enumerate(zip(widths, widths[1:])):
        names = (f"{ours}.{level}.block.{block}", f"{port}.{index + block}")
        other = f"{theirs}.{step}.resnets.{block}"
        yield from _resnet(*names, other, before != after)
        if attention:
            yield from _attention(
                f"{ours}.{level}.attn.{block}", names[1], f"{theirs}.{step}.attentions.{block}"
            )


def _encoder(dd: DDConfig) -> Iterator[tuple[str, str, str]]:
    yield "encoder.conv_in", "encoder.head", "encoder.conv_in"
    width, index, size = dd.ch, 0, dd.resolution
    for level, factor in enumerate(dd.ch_mult):
        widths = [width] + [dd.ch * factor] * dd.num_res_blocks
        yield from _level("encoder", level, level, index, widths, size in dd.attn_resolutions)
        width, index = widths[-1], index + dd.num_res_blocks
        if level < len(dd.ch_mult) - 1:
            yield (
                f"encoder.down.{level}.downsample.conv",
                f"encoder.downblocks.{index}.main",
                f"encoder.down_blocks.{level}.downsamplers.0.conv",
            )
            index, size = index + 1, size // 2
    yield from _middle("encoder", dd.attn_type != "none")
    yield "encoder.norm_out", "encoder.tail.0", "encoder.conv_norm_out"
    yield "encoder.conv_out", "encoder.tail.2", "encoder.conv_out"


def _decoder(dd: DDConfig) -> Iterator[tuple[str, str, str]]:
    yield "decoder.conv_in", "decoder.head", "decoder.conv_in"
    yield from _middle("decoder", dd.attn_type != "none")
    last = len(dd.ch_mult) - 1
    width, index, size = dd.ch * dd.ch_mult[-1], 0, dd.resolution >> last
    for step, factor in enumerate(reversed(dd.ch_mult)):
        level = last - step
        widths = [width] + [dd.ch * factor] * (dd.num_res_blocks + 1)
        yield from _level("decoder", level, step, index, widths, size in dd.attn_resolutions)
        width, index = widths[-1], index + dd.num_res_blocks + 1
        if step < last:
            yield (
                f"decoder.up.{level}.upsample.conv",
                f"decoder.upblocks.{index}.main",
                f"decoder.up_blocks.{step}.upsamplers.0.conv",
            )
            index, size = index + 1, size * 2
    yield "decoder.norm_out", "decoder.tail.0", "decoder.conv_norm_out"
    yield "decoder.conv_out", "decoder.tail.2", "decoder.conv_out"


def modules(config: VQModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield every module that has a weight and a bias, under its three names."""
    yield from _encoder(config.ddconfig)
    yield from _decoder(config.ddconfig)
    for name in ("quant_conv", "post_quant_conv"):
        yield name, name, name
    if config.gumbel:
        yield "quantize.proj", "quantize.proj", "quantize.proj"


def tables(config: VQModelConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Return the original's name -> MegEngine/Models' and -> diffusers', tensor by tensor."""
    port, theirs = {}, {}
    for ours, old, other in modules(config):
        for leaf in ("weight", "bias"):
            port[f"{ours}.{leaf}"] = f"{old}.{leaf}"
            theirs[f"{ours}.{leaf}"] = f"{other}.{leaf}"
    book = "quantize.embed.weight" if config.gumbel else "quantize.embedding.weight"
    port[book] = "quantize.embedding.weight"
    theirs[book] = "quantize.embedding.weight"
    return port, theirs


def is_convolution(name: str) -> bool:
    """Tell whether the original's tensor belongs to a convolution of a VQGAN."""
    return "norm" not in name and "embed" not in name


def as_port(name: str, value: np.ndarray) -> np.ndarray:
    """Return a VQGAN's tensor in the shape that MegEngine keeps: biases as (1, C, 1, 1)."""
    bias = name.endswith(".bias") and is_convolution(name)
    return value.reshape(1, -1, 1, 1) if bias else value


def as_diffusers(name: str, value: np.ndarray) -> np.ndarray:
    """Return a VQGAN's tensor in the shape that diffusers keeps: attention as matrices."""
    projection = ".attn" in name and name.endswith(".weight") and ".norm." not in name
    return value.reshape(value.shape[:2]) if projection else value

"""Run a block of the README with small models: python -m tests.readme_stand_ins BLOCK.py

Prints a JSON list of [expression, dtype, shape] for every comment that promises an array.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

# Builders that the README's blocks name; each is replaced by a network of the same kind, with the
# same labels, classes, length of codes and window, but f = 2, CODES codes and a transformer of one
# layer.
STAND_INS = (
    "vqgan_imagenet_f16_1024",
    "s_flckr_transformer",
    "drin_transformer",
    "cin_transformer",
    "celebahq_transformer",
)
CODES = 1024
# name = expression  # uint8 (H, W, 3)
PROMISE = re.compile(r"^([\w.]+)(?: = .*)?  # (?:RGB )?(u?int\d+|float\d+) \(([^)]*)\)", re.M)


def shrink(config: Any) -> Any:
    """Return a configuration of the same kind whose networks take no time."""
    from official.multimodal.taming_transformer.config import GPTConfig, Net2NetConfig

    if isinstance(config, Net2NetConfig):
        gpt = config.transformer
        stage = config.cond_stage
        return replace(
            config,
            first_stage=shrink(config.first_stage),
            cond_stage=stage and shrink(stage),
            transformer=GPTConfig(CODES, gpt.block_size, n_layer=1, n_head=2, n_embd=16),
        )
    small = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 8, "resolution": 32}
    ddconfig = replace(config.ddconfig, attn_resolutions=(), **small)
    return replace(config, ddconfig=ddconfig, n_embed=CODES)


def small_model(name: str, pretrained: bool = False, *, weights: Any = None) -> Any:
    """Stand in for the builder of that name."""
    from official.multimodal.taming_transformer.config import Net2NetConfig
    from official.multimodal.taming_transformer.net2net import Net2NetTransformer
    from official.multimodal.taming_transformer.registry import model_row
    from official.multimodal.taming_transformer.vqgan import build_vqgan
    from tests.tiny import filled

    config = shrink(model_row(name).config)
    if isinstance(config, Net2NetConfig):
        return filled(Net2NetTransformer(config))
    return filled(build_vqgan(config))


def main(block: str) -> None:
    """Run the block and print what became of its promises."""
    from official.multimodal import taming_transformer

    for name in STAND_INS:
        setattr(taming_transformer, name, partial(small_model, name))
    names: dict[str, Any] = {}
    exec(compile(block, "the block", "exec"), names)
    found = []
    for expression, _, _ in PROMISE.findall(block):
        value = eval(expression, names)
        found.append([expression, str(value.dtype), list(value.shape)])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text(encoding="utf-8"))

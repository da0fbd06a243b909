"""What other projects call the tensors that the original calls by its own names.

Every function takes the original's names and returns, for each, the name in another layout. All
that a layout depends on (levels, blocks in each, where attention is) is read from the names.
"""

from __future__ import annotations

import re
from typing import Callable, Iterable, Mapping

Names = Mapping[str, str]
# (side, levels) -> a rule: a place such as ``down.2.block.1`` -> its name in the layout
Levels = Mapping[int, int]

_SIDE = re.compile(r"((?:first_stage_model\.|cond_stage_model\.)?)(encoder|decoder)\.(.*)")
_PLACE = re.compile(
    r"(?:down|up)\.(?P<level>\d+)\.(?:(?P<kind>block|attn)\.(?P<index>\d+)|(?:down|up)sample\.conv)"
    r"|mid\.(?P<mid>block_1|attn_1|block_2)"
    r"|(?P<end>conv_in|conv_out|norm_out)"
)
_MEGENGINE_LEAVES = {
    "norm1": "block1.0",
    "conv1": "block1.2",
    "norm2": "block2.0",
    "conv2": "block2.3",
    "nin_shortcut": "short_cut",
    "norm": "attn.group_norm",
    "q": "attn.proj_q",
    "k": "attn.proj_k",
    "v": "attn.proj_v",
    "proj_out": "attn.proj",
}
_MEGENGINE_ENDS = {"conv_in": "head", "norm_out": "tail.0", "conv_out": "tail.2"}
_MEGENGINE_MIDDLE = {"block_1": 0, "attn_1": 0, "block_2": 1}
_DIFFUSERS_LEAVES = {
    "nin_shortcut": "conv_shortcut",
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
# What diffusers called attention before its version 0.15.
_DIFFUSERS_OLD = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
_DIFFUSERS_MIDDLE = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}


def compvis_names(names: Iterable[str]) -> Names:
    """Return the original's own names (also those of Lightning and of our native files)."""
    return {name: name for name in names}


def megengine_names(names: Iterable[str]) -> Names:
    """Return the names of MegEngine/Models' port, whose ``.pkl`` files are published.

    Its blocks form one flat list a side, in the order in which they run, and attention lies
    inside the residual block before it.
    """
    return _rename(names, _megengine_place, _MEGENGINE_LEAVES, _megengine_rest)


def diffusers_names(names: Iterable[str]) -> Names:
    """Return the names of a VQModel of Hugging Face's diffusers."""
    return _rename(names, _diffusers_place, _DIFFUSERS_LEAVES, lambda name: name)


def old_diffusers_names(names: Iterable[str]) -> Names:
    """Return the names of a VQModel of diffusers before 0.15."""
    leaves = {**_DIFFUSERS_LEAVES, **_DIFFUSERS_OLD}
    return _rename(names, _diffusers_place, leaves, lambda name: name)


LAYOUTS: Mapping[str, Callable[[Iterable[str]], Names]] = {
    "CompVis": compvis_names,
    "MegEngine/Models": megengine_names,
    "diffusers": diffusers_names,
    "diffusers before 0.15": old_diffusers_names,
}


def _rename(
    names: Iterable[str],
    place_name: Callable[[str, re.Match[str], Levels], str],
    leaves: Mapping[str, str],
    rest: Callable[[str], str],
) -> Names:
    names = list(names)
    levels = _levels(names)
    renamed = {}
    for name in names:
        side = _SIDE.fullmatch(name)
        place = _PLACE.match(side[3]) if side else None
        if side is None or place is None:
            renamed[name] = rest(name)
            continue
        head = place_name(side[2], place, levels[side[1] + side[2]])
        tail = [leaves.get(part, part) for part in side[3][place.end() :].split(".")[1:]]
        renamed[name] = ".".join([side[1] + side[2], head, *tail])
    return renamed


def _levels(names: Iterable[str]) -> dict[str, dict[int, int]]:
    """Return, for every encoder and decoder, level -> number of its residual blocks."""
    found: dict[str, dict[int, int]] = {}
    for name in names:
        side = _SIDE.fullmatch(name)
        if side is None:
            continue
        levels = found.setdefault(side[1] + side[2], {})
        place = _PLACE.match(side[3])
        if place and place["kind"] == "block":
            level = int(place["level"])
            levels[level] = max(levels.get(level, 0), int(place["index"]) + 1)
    return found


def _megengine_place(side: str, place: re.Match[str], levels: Levels) -> str:
    if place["end"]:
        return _MEGENGINE_ENDS[place["end"]]
    if place["mid"]:
        return f"middleblocks.{_MEGENGINE_MIDDLE[place['mid']]}"
    level = int(place["level"])
    earlier = [n for n in levels if (n < level if side == "encoder" else n > level)]
    # Each level before this one has its blocks and one resampling layer.
    index = sum(levels[n] + 1 for n in earlier)
    blocks = "downblocks" if side == "encoder" else "upblocks"
    if place["kind"] is None:
        return f"{blocks}.{index + levels.get(level, 0)}.main"
    return f"{blocks}.{index + int(place['index'])}"


def _megengine_rest(name: str) -> str:
    """Rename what is neither of a VQGAN's encoder nor decoder: codebook, and OpenAI's dVAE."""
    name = re.sub(r"quantize\.embed\.", "quantize.embedding.", name)
    if re.match(r"(encoder|decoder)\.blocks\.", name):
        name = re.sub(r"\.w$", ".weight", re.sub(r"\.b$", ".bias", name))
    return name


def _diffusers_place(side: str, place: re.Match[str], levels: Levels) -> str:
    if place["end"]:
        return "conv_norm_out" if place["end"] == "norm_out" else place["end"]
    if place["mid"]:
        return f"mid_block.{_DIFFUSERS_MIDDLE[place['mid']]}"
    level = int(place["level"])
    if side == "encoder":
        base, sampler = f"down_blocks.{level}", "downsamplers.0.conv"
    else:
        base, sampler = f"up_blocks.{max(levels) - level}", "upsamplers.0.conv"
    if place["kind"] is None:
        return f"{base}.{sampler}"
    kind = "resnets" if place["kind"] == "block" else "attentions"
    return f"{base}.{kind}.{place['index']}"

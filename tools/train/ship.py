"""Put the networks of finished or running runs together, as one checkpoint for each model to ship.

    python tools/train/ship.py --runs runs --out runs/shipped
    for f in runs/shipped/*.ckpt; do n=$(basename $f .ckpt); python tools/convert_weights.py $f \
        --model $n --dtype float16 --output assets/weights/$n.safetensors; done

The names of the runs are those of family.sh. A run that has not ended gives its average so far. The
transformers get the newest picture VQGAN; its codes must be those that they learnt from.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

# model -> the run of its transformer and that of its map VQGAN
MODELS = {
    "scenes_vqgan": ("", ""),
    "scenes_segmentation_transformer": ("segmentation", "labels"),
    "scenes_depth_transformer": ("depth_transformer", "depth"),
    "scenes_class_transformer": ("class", ""),
}


def load(run: Path) -> tuple[State, dict[str, Any]]:
    """Read a run's averaged network and its sizes.

    Raises:
        FileNotFoundError: the run has neither ended nor been saved.
    """
    name = "last.ckpt" if (run / "last.ckpt").is_file() else "model.ckpt"
    saved = torch.load(run / name, map_location="cpu", weights_only=True)
    return saved["average" if name == "last.ckpt" else "state_dict"], saved["configs"]


def load_image(run: Path, share: float = 0.75) -> tuple[State, dict[str, Any]]:
    """Read the picture VQGAN: so much of the way from before the discriminator to after it.

    In between, pictures are nearly as sharp as at the end, with fewer false patterns. Source: Wang
    et al. 2018, ESRGAN (arXiv 1809.00219), section 3.4, network interpolation.
    """
    state, sizes = load(run)
    if (run / "settled.ckpt").is_file():
        settled = torch.load(run / "settled.ckpt", map_location="cpu", weights_only=True)
        state = {k: torch.lerp(settled["state_dict"][k], v, share) for k, v in state.items()}
    return state, sizes


def part(state: State, prefix: str) -> State:
    """The tensors of a module, without its name; all if there is no such module."""
    found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    return found or state


def assemble(runs: Path, name: str) -> dict[str, Any]:
    """Return {"state_dict", "configs"} of a model, with the original's names.

    Raises:
        ValueError: the codes have changed since the transformer's run.
    """
    transformer, maps = MODELS[name]
    image, sizes = load_image(runs / "image")
    if not transformer:
        return {"state_dict": image, "configs": sizes}
    given = torch.load(runs / transformer / "first_stage.ckpt", weights_only=True)["state_dict"]
    for key, value in given.items():
        if key.startswith(("encoder.", "quant")) and not torch.equal(value, image[key]):
            raise ValueError(f"{key} of {runs / 'image'} is not what {transformer} learnt from")
    learnt, configs = load(runs / transformer)
    configs["first_stage"] = sizes["model"]
    state = {f"transformer.{k}": v for k, v in part(learnt, "transformer.").items()}
    state.update({f"first_stage_model.{k}": v for k, v in image.items()})
    if maps:
        stage, sizes = load(runs / maps)
        configs["cond_stage"] = sizes["model"]
        state.update({f"cond_stage_model.{k}": v for k, v in stage.items()})
    return {"state_dict": state, "configs": configs}


def main() -> None:
    """Write the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        assembled = assemble(args.runs, name)
        path = args.out / f"{name}.ckpt"
        torch.save(assembled, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
        print(path)


if __name__ == "__main__":
    main()

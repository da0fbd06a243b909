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


def read(run: Path) -> State:
    """Read a run's averaged network.

    Raises:
        FileNotFoundError: the run has neither ended nor been saved.
    """
    if (run / "last.ckpt").is_file():
        return torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)["average"]
    saved = torch.load(run / "model.ckpt", map_location="cpu", weights_only=True)
    return saved["state_dict"]


def part(state: State, prefix: str) -> State:
    """The tensors of a module, without its name; all if there is no such module."""
    found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    return found or state


def learnt_from(run: Path) -> State:
    """The picture VQGAN that a transformer's run was given."""
    return torch.load(run / "first_stage.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def assemble(runs: Path, name: str) -> State:
    """Return the state dict of a model, with the original's names.

    Raises:
        ValueError: the codes have changed since the transformer's run.
    """
    transformer, maps = MODELS[name]
    image = read(runs / "image")
    if not transformer:
        return image
    given = learnt_from(runs / transformer)
    for key, value in given.items():
        if key.startswith(("encoder.", "quant")) and not torch.equal(value, image[key]):
            raise ValueError(f"{key} of {runs / 'image'} is not what {transformer} learnt from")
    state = {f"first_stage_model.{k}": v for k, v in image.items()}
    if maps:
        state.update({f"cond_stage_model.{k}": v for k, v in read(runs / maps).items()})
    learnt = part(read(runs / transformer), "transformer.")
    return {**state, **{f"transformer.{k}": v for k, v in learnt.items()}}


def main() -> None:
    """Write the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        state = assemble(args.runs, name)
        path = args.out / f"{name}.ckpt"
        torch.save({"state_dict": state}, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
        print(path)


if __name__ == "__main__":
    main()

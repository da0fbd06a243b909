"""Record what the PyTorch twins of the shipped models compute, in float32, before conversion.

Run in the reference environment, with the checkpoints that tools/train/ship.py wrote:

    .venv-ref/bin/python -m tests.reference.record_scenes runs/shipped
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train"))

from gpt import GPT, GPTConfig  # noqa: E402
from nets import VQGANConfig, VQModel  # noqa: E402
from scenes import render  # noqa: E402

from .record_golden import save  # noqa: E402

PLACES = slice(None, None, 17)  # of the logits, so that the files stay small


def network(saved: dict, prefix: str, config: str) -> VQModel:
    """Rebuild a VQGAN out of a checkpoint."""
    model = VQModel(VQGANConfig.of(saved["configs"][config]))
    model.load_state_dict(under(saved["state_dict"], prefix))
    return model.eval()


def under(state: dict, prefix: str) -> dict:
    """The tensors of a module, without its name."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


@torch.no_grad()
def reconstruction(saved: dict) -> dict[str, np.ndarray]:
    """Codes and reconstruction of a picture."""
    model = network(saved, "", "model")
    with Image.open(ROOT / "assets" / "examples" / "scene_photo.png") as file:
        picture = np.asarray(file.convert("RGB").resize((128, 128), Image.Resampling.BOX))
    x = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)[None]
    codes = model.codes(x)
    y = model.decode_codes(codes)
    return {"picture": picture, "indices": codes.numpy().astype(np.int16), "y": y.half().numpy()}


@torch.no_grad()
def logits(saved: dict, name: str) -> dict[str, np.ndarray]:
    """Condition tokens, picture tokens and some of the logits of a scene."""
    scene = render(3, 0)
    gpt = GPT(GPTConfig(**saved["configs"]["transformer"]))
    gpt.load_state_dict(under(saved["state_dict"], "transformer."))
    x = torch.from_numpy(scene.image.astype(np.float32) / 127.5 - 1.0).permute(2, 0, 1)[None]
    z = network(saved, "first_stage_model.", "first_stage").codes(x).flatten(1)
    c = torch.full((1, 1), 1 + scene.kind)
    if "segmentation" in name:
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(scene.labels).long(), 12)
        stage = network(saved, "cond_stage_model.", "cond_stage")
        c = stage.codes(one_hot.permute(2, 0, 1)[None].float()).flatten(1)
    elif "depth" in name:  # any tokens do: how maps become tokens is compared elsewhere
        c = torch.from_numpy(np.random.RandomState(0).randint(0, 1920, (1, 256)))
    out = gpt.eval()(torch.cat([c, z[:, :-1]], 1))[0, PLACES]
    return {
        "c": c.numpy().astype(np.int16),
        "z": z.numpy().astype(np.int16),
        "logits": out.half().numpy(),
    }


def main(folder: str) -> None:
    """Record every checkpoint of a folder."""
    for path in sorted(Path(folder).glob("scenes_*.ckpt")):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        arrays = reconstruction(saved) if path.stem == "scenes_vqgan" else logits(saved, path.stem)
        print(save(path.stem, arrays, {}))


if __name__ == "__main__":
    main(sys.argv[1])

"""Smoke test of a Python that has the runtime requirements only (3.8, 3.9).

Compiles and imports every module of the package, then runs tiny networks with random weights: a
picture is encoded, decoded and reconstructed through files; a transformer fills a latent.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "official.multimodal.taming_transformer"

os.environ.setdefault("MGE_DEFAULT_DEVICE", "cpu0")
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from megengine import Tensor  # noqa: E402
from PIL import Image  # noqa: E402


def check(condition: bool, what: str) -> None:
    """Print what has been tried, or stop."""
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"  {what}")


def import_everything() -> None:
    """Import every module of the package and the hub's entry points."""
    names = sorted(path.stem for path in (ROOT / PACKAGE.replace(".", "/")).glob("*.py"))
    for name in names:
        import_module(PACKAGE if name == "__init__" else f"{PACKAGE}.{name}")
    import_module("hubconf")
    check(len(names) > 1, f"{len(names)} modules and hubconf import")


def save_and_reload(model: object, path: Path) -> None:
    """Write a network's tensors as safetensors and read them back into it."""
    checkpoint = import_module(f"{PACKAGE}.checkpoint")
    loading = import_module(f"{PACKAGE}.loading")
    state = {name: np.array(value) for name, value in model.state_dict().items()}  # type: ignore[attr-defined]
    checkpoint.write_safetensors(path, state)
    loading.load_checkpoint(model, path)
    again = model.state_dict()  # type: ignore[attr-defined]
    check(all(np.array_equal(state[n], again[n]) for n in state), "weights survive a file")


def reconstruct(folder: Path) -> None:
    """Encode and decode a picture of odd size with a tiny autoencoder, from file to file."""
    config = import_module(f"{PACKAGE}.config")
    filling = import_module(f"{PACKAGE}.filling")
    vqgan = import_module(f"{PACKAGE}.vqgan")
    package = import_module(PACKAGE)
    shape = config.DDConfig(
        ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(16,), z_channels=8, resolution=32
    )
    model = vqgan.build_vqgan(config.VQModelConfig(shape, n_embed=40, embed_dim=4))
    filling.initialise(model)
    z, indices = model.encode(Tensor(np.zeros((1, 3, 32, 48), np.float32)))
    check(tuple(indices.shape) == (1, 16, 24), "a picture becomes codes")
    check(tuple(model.decode(z).shape) == (1, 3, 32, 48), "codes become a picture")
    save_and_reload(model, folder / "tiny.safetensors")
    values = np.random.RandomState(0).randint(0, 256, (37, 51, 3)).astype(np.uint8)
    Image.fromarray(values).save(folder / "in.png")
    rec = package.Reconstruction(model, size=None)
    picture = rec(folder / "in.png", file_name=folder / "out.png")
    with Image.open(folder / "out.png") as written:
        check(np.array_equal(np.asarray(written), picture), "a file is reconstructed to a file")
    check(picture.shape == values.shape, "at its own size")


def sample() -> None:
    """Run a tiny transformer with and without its cache."""
    config = import_module(f"{PACKAGE}.config")
    filling = import_module(f"{PACKAGE}.filling")
    gpt = import_module(f"{PACKAGE}.gpt")
    model = gpt.GPT(config.GPTConfig(50, 64, n_layer=2, n_head=4, n_embd=32))
    filling.initialise(model)
    model.eval()
    tokens = np.arange(12, dtype=np.int32)[None]
    whole = model(Tensor(tokens)).numpy()
    cache = model.new_cache()
    parts = [model(Tensor(tokens[:, :5]), cache).numpy()]
    for t in range(5, 12):  # one at a time, as the samplers do
        parts.append(model.next_logits(tokens[:, t : t + 1], cache)[:, None])
    parts = np.concatenate(parts, axis=1)
    error = np.abs(parts - whole).max() / np.abs(whole).max()
    check(error < 1e-4, f"the cached transformer equals the uncached one ({error:.1e})")


def main() -> int:
    """Run every step; the first failure ends it."""
    print(f"Python {platform.python_version()}, NumPy {np.__version__}")
    import_everything()
    with tempfile.TemporaryDirectory() as folder:
        reconstruct(Path(folder))
    sample()
    return 0


if __name__ == "__main__":
    sys.exit(main())

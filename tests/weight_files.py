"""A tiny model's weights in several files, for the tests of the cache."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np

from official.multimodal.taming_transformer.checkpoint import open_checkpoint, write_safetensors

NAME = "tiny_model"
SHAPES = {
    "encoder.w": (200, 100),
    "encoder.b": (200,),
    "decoder.w": (100, 200),
    "decoder.b": (100,),
}


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Return random values of every parameter."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def native_bytes(folder: Path, values: dict[str, np.ndarray]) -> bytes:
    """Return a safetensors file of some values."""
    path = folder / "made.safetensors"
    write_safetensors(path, values)
    data = path.read_bytes()
    path.unlink()
    return data


def pickle_bytes(values: dict[str, np.ndarray]) -> bytes:
    """Return a file as ``megengine.save`` writes a state dict."""
    return pickle.dumps(values, protocol=4)


def zip_file(path: Path, members: dict[str, bytes]) -> Path:
    """Write a compressed zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    """Return every tensor of a file."""
    with open_checkpoint(path) as file:
        return {name: file.read(name) for name in file.tensors}


def same(path: Path, values: dict[str, np.ndarray]) -> bool:
    """Tell whether a file holds exactly these values."""
    found = read(path)
    return found.keys() == values.keys() and all(
        np.array_equal(found[name], values[name]) and found[name].dtype == values[name].dtype
        for name in values
    )


def prefixed(values: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the values with something before their names."""
    return {prefix + name: value for name, value in values.items()}


def half(values: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the values whose names begin so, without that."""
    return {n[len(prefix) :]: v for n, v in values.items() if n.startswith(prefix)}

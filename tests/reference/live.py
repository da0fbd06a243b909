"""Ask the original live, and load the checkpoint that it wrote as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 600.0


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")


def ask(python: Path, name: str, folder: Path) -> dict[str, np.ndarray]:
    """Let the original write checkpoint and stages of a full-size case; return the stages."""
    _run([str(python), "-m", "tests.reference.record_live", name, str(folder)])
    with np.load(folder / "expected.npz") as file:
        return {key: file[key] for key in file.files}


def load_ours(name: str, folder: Path) -> Any:
    """Build the model from the original's checkpoint in ``folder``."""
    from official.multimodal.taming_transformer import zoo

    weights = folder / "last.ckpt"
    if not weights.exists():  # two files: the converter joins them
        weights = folder / f"{name}.safetensors"
        tool = str(ROOT / "tools" / "convert_weights.py")
        _run([sys.executable, tool, str(folder), "--model", name, "--output", str(weights)])
    return getattr(zoo, name)(weights=weights)

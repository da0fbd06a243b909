"""Read golden files (NumPy only)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "golden"

Arrays = Dict[str, np.ndarray]


def load(name: str) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the facts of one golden file: facts hold ``weights`` and ``seed``."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("facts")))

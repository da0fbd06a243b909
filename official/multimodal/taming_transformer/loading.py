"""Fill a network from a checkpoint file, tensor by tensor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Sequence

import megengine.module as M
import numpy as np

from .conversion import Sources, plan_file, source_files
from .convert import Candidates, TensorRef
from .filling import initialise, load_tensors, parameter_shapes
from .parameters import declared_groups, fill
from .runtime import release_memory

__all__ = ["initialise", "load_checkpoint", "load_tensors", "parameter_shapes"]


def load_checkpoint(
    model: M.Module,
    path: str | Path,
    *,
    part: str | None = None,
    candidates: Candidates | None = None,
) -> None:
    """Fill a network from a file, tensor by tensor, so that memory rises by little more than it.

    Args:
        model: A declared network.
        path: ``.safetensors``, ``.ckpt``/``.pth``/``.pt``/``.bin`` or ``.pkl`` in any layout that
            ``convert`` knows; a folder with OpenAI's ``encoder.pkl`` and ``decoder.pkl``.
        part: Take this module out of a larger checkpoint, such as ``"first_stage"``.
        candidates: Shapes of the models that a file of another one is compared with.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read, or holds another model.
    """
    with Sources(source_files([path])) as source:
        plan = plan_file(source, parameter_shapes(model), part=part, candidates=candidates)
        for group in declared_groups(model):
            refs = [plan.take[name] for name, _ in group]
            fill([parameter for _, parameter in group], partial(_read, source, refs))
    release_memory()  # pieces that were converted on their way


def _read(source: Sources, refs: Sequence[TensorRef], out: np.ndarray) -> None:
    """Read tensors, one under the other, into an array of all their rows."""
    start = 0
    for ref in refs:
        rows = out[start : start + ref.shape[0]]
        # its shape in the file: all that `ref.transform` would undo
        source.read_into(ref.source, rows.reshape(source.tensors[ref.source].shape))
        start += len(rows)

"""Fill a network from a checkpoint file, tensor by tensor."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import megengine.module as M
import numpy as np

from .conversion import Sources, plan_file, source_files
from .convert import Candidates, Plan
from .filling import initialise, load_tensors, parameter_shapes
from .parameters import fill
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
        fill(model, partial(_read, source, plan))
    release_memory()  # pieces that were converted on their way


def _read(source: Sources, plan: Plan, name: str, out: np.ndarray) -> None:
    ref = plan.take[name]
    # in its shape of the file: all that `ref.transform` would undo
    source.read_into(ref.source, out.reshape(source.tensors[ref.source].shape))

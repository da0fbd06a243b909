"""Fill a network from a checkpoint file, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import megengine as mge
import megengine.module as M

from .conversion import Sources, plan_file, source_files
from .convert import Candidates
from .filling import initialise, load_tensors, parameter_shapes
from .layers import declared_parameters, fill

__all__ = ["initialise", "load_checkpoint", "load_tensors", "parameter_shapes"]

# Tensors handed over between two waits for the device: bounds what is in flight.
SYNC_BYTES = 64 << 20


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
        waiting = 0
        for name, parameter in declared_parameters(model):
            reference = plan.take[name]
            values = reference.transform(source.read(reference.source, "float32"))
            fill(parameter, values)
            waiting += values.nbytes
            if waiting > SYNC_BYTES:
                mge._full_sync()
                waiting = 0
    mge._full_sync()

"""Fill a network from a checkpoint file, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import megengine as mge
import megengine.module as M
import numpy as np

from .checkpoint import open_checkpoint
from .convert import plan_conversion
from .filling import initialise, load_tensors, parameter_shapes
from .layers import declared_parameters, fill

__all__ = ["initialise", "load_checkpoint", "load_tensors", "parameter_shapes"]

# Tensors handed over between two waits for the device: bounds what is in flight.
SYNC_BYTES = 64 << 20


def load_checkpoint(model: M.Module, path: str | Path, *, part: str | None = None) -> None:
    """Fill a network from a file, tensor by tensor, so that memory rises by little more than it.

    Args:
        model: A declared network.
        path: ``.safetensors``, ``.ckpt``/``.pth``/``.pt``/``.bin`` or ``.pkl`` in any layout that
            ``convert`` knows.
        part: Take this module out of a larger checkpoint, such as ``"first_stage_model"``.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read, or holds another model.
    """
    with open_checkpoint(path) as file:
        found = {name: info.shape for name, info in file.tensors.items()}
        plan = plan_conversion(found, parameter_shapes(model), part=part)
        waiting = 0
        for name, parameter in declared_parameters(model):
            reference = plan.take[name]
            values = reference.transform(file.read(reference.source))
            fill(parameter, np.ascontiguousarray(values, np.float32))
            waiting += values.nbytes
            if waiting > SYNC_BYTES:
                mge._full_sync()
                waiting = 0
    mge._full_sync()

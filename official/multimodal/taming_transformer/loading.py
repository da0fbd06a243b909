"""Fill a network from a checkpoint file, tensor by tensor."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, Sequence

import megengine as mge
import megengine.module as M
import numpy as np

from .conversion import Sources, plan_file, source_files
from .convert import Candidates
from .filling import initialise, load_tensors, parameter_shapes
from .parameters import declared_parameters, fill
from .runtime import release_memory

__all__ = ["initialise", "load_checkpoint", "load_tensors", "parameter_shapes"]

# Tensors handed over between two waits for the device: bounds what is in flight, and the holes
# that MegEngine's copies leave in the heap.
SYNC_BYTES = 32 << 20


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
        wanted = [(parameter, plan.take[name]) for name, parameter in declared_parameters(model)]
        waiting = 0
        for parameter, values in zip([p for p, _ in wanted], _ahead(source, wanted)):
            fill(parameter, values)
            waiting += values.nbytes
            if waiting > SYNC_BYTES:
                mge._full_sync()
                release_memory()
                waiting = 0
    mge._full_sync()
    release_memory()


def _ahead(source: Sources, wanted: Sequence[tuple[Any, Any]]) -> Iterator[np.ndarray]:
    """Yield tensors in order; a thread reads the next while the last is handed over.

    Two buffers are used in turn, since memory that is touched for the first time costs more than
    the reading: what is yielded is valid until the next is asked for.
    """
    shapes = {ref.source: source.tensors[ref.source].shape for _, ref in wanted}
    largest = max((math.prod(shape) for shape in shapes.values()), default=0)
    buffers = [np.empty(largest, np.float32) for _ in range(2)]

    def read(reference: Any, buffer: np.ndarray) -> np.ndarray:
        shape = shapes[reference.source]
        out = buffer[: math.prod(shape)].reshape(shape)
        source.read_into(reference.source, out)
        values: np.ndarray = reference.transform(out)
        return values

    with ThreadPoolExecutor(1) as reader:
        coming = None
        for number, (_, reference) in enumerate(wanted):
            arrived = None if coming is None else coming.result()
            coming = reader.submit(read, reference, buffers[number % 2])
            if arrived is not None:
                yield arrived
        if coming is not None:
            yield coming.result()

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
from .parameters import declared_groups, fill
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
        groups = list(declared_groups(model))
        wanted = [[plan.take[name] for name, _ in group] for group in groups]
        waiting = 0
        for group, values in zip(groups, _ahead(source, wanted)):
            fill([parameter for _, parameter in group], values)
            waiting += values.nbytes
            if waiting > SYNC_BYTES:
                mge._full_sync()
                release_memory()
                waiting = 0
    mge._full_sync()
    release_memory()


def _ahead(source: Sources, wanted: Sequence[Sequence[Any]]) -> Iterator[np.ndarray]:
    """Yield groups of tensors in order, each as one array of all their rows.

    A thread reads the next while the last is handed over. Two buffers are used in turn, since
    memory that is touched for the first time costs more than the reading: what is yielded is valid
    until the next is asked for.
    """
    shapes = {ref.source: source.tensors[ref.source].shape for group in wanted for ref in group}
    sizes = [sum(math.prod(shapes[ref.source]) for ref in group) for group in wanted]
    buffers = [np.empty(max(sizes, default=0), np.float32) for _ in range(2)]

    def read(group: Sequence[Any], buffer: np.ndarray) -> np.ndarray:
        start = rows = 0
        for ref in group:
            shape = shapes[ref.source]
            out = buffer[start : start + math.prod(shape)].reshape(shape)
            source.read_into(ref.source, out)
            start, rows = start + out.size, rows + ref.shape[0]
        return buffer[:start].reshape(rows, *ref.shape[1:])  # all that `ref.transform` would do

    with ThreadPoolExecutor(1) as reader:
        coming = None
        for number, group in enumerate(wanted):
            arrived = None if coming is None else coming.result()
            coming = reader.submit(read, group, buffers[number % 2])
            if arrived is not None:
                yield arrived
        if coming is not None:
            yield coming.result()

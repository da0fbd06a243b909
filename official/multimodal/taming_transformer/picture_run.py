"""One call of a sampler that writes files, from the checked request to the result."""

from __future__ import annotations

import json
import platform
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping

import megengine
import numpy as np

from .conditions import Source
from .drawing import Drawing, digest
from .image import write_png
from .manifest import weights_sha256
from .net2net import Net2NetTransformer
from .noise import LARGEST_SEED
from .options import SamplerOptions, check_filled
from .previews import Decode, draw_quietly, draw_to_files
from .results import SamplingResult
from .store import PictureStore, open_store

ALGORITHM = 1
"""Raised whenever the same settings would give other tokens: such runs cannot be gone on with."""

# Files beside the numbered pictures that a run may write: map, first sample, film, ...
_OTHER_FILES = 6


@dataclass(frozen=True, eq=False)
class Task:
    """What a call asks for, read and checked, before any network has run.

    Attributes:
        source: The condition.
        samples: Numbers of the samples in the run.
        cells: Cells to draw.
        make: From the seed to the drawing; runs the networks that come before the transformer.
        decode: From tokens (h, w) to a picture uint8 (H, W, 3).
        views: Ending of a file -> function that gives the picture to write before sampling.
        extra: What else the picture hangs on, as plain values.
        inputs: Files that were read.
    """

    source: Source
    samples: tuple[int, ...]
    cells: int
    make: Callable[[int], Drawing]
    decode: Decode
    views: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()


def new_seed(options: SamplerOptions) -> int:
    """Return the seed of the settings, or a fresh one."""
    return secrets.randbelow(LARGEST_SEED + 1) if options.seed is None else options.seed


def run(
    model: Net2NetTransformer, options: SamplerOptions, task: Task, name: str
) -> SamplingResult:
    """Draw what is asked for, with files if the settings have a folder.

    Args:
        model: What draws.
        options: Its settings.
        task: What is asked for.
        name: What the files' names begin with.

    Raises:
        RuntimeError: The model has no weights, or another process is at work on the same name.
        ValueError: A run of that name with other settings, or foreign files, are in the folder.
        OSError: The folder cannot be written or is full.
    """
    check_filled(model)
    if options.root is None:
        drawing = task.make(new_seed(options))
        indices = draw_quietly(drawing, options.progress)
        facts = {**options.record(), "samples": list(task.samples)}
        pictures = np.stack([task.decode(codes) for codes in indices])
        return SamplingResult(pictures, indices, drawing.seed, facts)
    record = _record(model, options, task)
    needed = _bytes(model, options, task)
    with open_store(
        options.root,
        name,
        record,
        needed=needed,
        inputs=task.inputs,
        overwrite=options.overwrite,
    ) as store:
        return _run_to_files(options, task, store)


def _run_to_files(options: SamplerOptions, task: Task, store: PictureStore) -> SamplingResult:
    record = store.record
    if record["seed"] is None:
        record["seed"] = new_seed(options)
    if store.progress.indices is None:
        store.save(store.progress)  # from here on the files of this name are this run's
    for ending, picture in task.views.items():
        write_png(store.path(ending), picture())
        store.add(store.path(ending))
    drawing = task.make(record["seed"])
    state, pictures = draw_to_files(drawing, store, options, task.decode)
    for number, picture in zip(task.samples, pictures):
        path = store.path(".png" if len(task.samples) == 1 else f"_{number:03}.png")
        write_png(path, picture, _metadata(record, number))
        store.add(path)
    store.finish(state)
    indices = np.asarray(state.indices)
    return SamplingResult(pictures, indices, record["seed"], record, tuple(store.written))


def _record(model: Net2NetTransformer, options: SamplerOptions, task: Task) -> dict[str, Any]:
    """Return everything that the picture hangs on, as JSON gives it back."""
    record = {
        "algorithm": ALGORITHM,
        "model": model.name or "",
        "weights_sha256": weights_sha256(model),
        "config": {**asdict(model.config), "dtype": model.dtype.name},
        "seed": options.seed,
        "samples": list(task.samples),
        "latent": list(task.source.shape),
        "cells": task.cells,
        "parameters": options.record(),
        "condition_sha256": digest(task.source.kind, task.source.values),
        **task.extra,
        "about": {
            "device": model.device,
            "machine": platform.machine(),
            "megengine": megengine.__version__,
            "numpy": np.__version__,
        },
    }
    return dict(json.loads(json.dumps(record)))


def _bytes(model: Net2NetTransformer, options: SamplerOptions, task: Task) -> int:
    """Return nearly how much the files of a run can take at most."""
    h, w = task.source.shape
    previews = task.cells // options.update_every if options.update_every else 0
    pictures = len(task.samples) + _OTHER_FILES + previews * (1 + len(options.films))
    return pictures * 3 * h * w * model.downsampling**2


def _metadata(record: Mapping[str, Any], sample: int) -> dict[str, str]:
    """Return the PNG text entries of a picture."""
    shown = {**record["parameters"], "latent": record["latent"]}
    return {
        "Software": "official.multimodal.taming_transformer",
        "seed": str(record["seed"]),
        "sample": str(sample),
        "model": str(record["model"]),
        "weights_sha256": str(record["weights_sha256"]),
        "condition_sha256": str(record["condition_sha256"]),
        "parameters": json.dumps(shown),
    }

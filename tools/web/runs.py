"""What the tabs do with networks: generators for the engine's thread, one for each kind of run."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any, Iterator

import numpy as np

from official.multimodal.taming_transformer.completion import Completion, Given, touched_cells
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.fast import FastSampler
from official.multimodal.taming_transformer.palette import label_colours
from official.multimodal.taming_transformer.reconstruction import Reconstruction
from tools.web.following import Done, Drawing, Following, Loading, Progress, seconds_left
from tools.web.shelf import Shelf


def fresh_seed() -> int:
    """Return a seed that is short enough to be written down."""
    return secrets.randbelow(2**32)


def reconstruct(shelf: Shelf, name: str, photo: np.ndarray) -> Iterator[Any]:
    """Pass a photograph, uint8 (H, W, 3), through a first stage and back."""
    yield Loading(name)
    model, weights = shelf.get(name)
    began = time.monotonic()
    wrapper = Reconstruction(model, size=None)
    codes = wrapper.encode(photo)
    yield Progress(1, 2, seconds_left(began, 1, 2))
    height, width = photo.shape[:2]
    picture = np.ascontiguousarray(wrapper.decode(codes)[:height, :width])
    error = picture.astype(np.float64) - photo
    psnr = 10 * np.log10(255**2 / max(float((error**2).mean()), 1e-10))
    facts = {
        **_about(name, weights, "reconstruct"),
        "photo_sha256": _digest(photo),
        "psnr": round(float(psnr), 2),
        "codes_used": len(np.unique(codes)),
        "indices": codes.tolist(),
    }
    seen = label_colours(int(codes.max()) + 1)[codes]
    factor = model.downsampling
    mosaic = seen.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    yield Done([picture], facts, before=photo, codes=np.ascontiguousarray(mosaic))


def of_map(
    shelf: Shelf, how: Drawing, kind: str, values: np.ndarray, view: np.ndarray
) -> Iterator[Any]:
    """Draw pictures of a label map (uint8 ids) or a depth map (numbers), both (H, W).

    ``view`` is the map in colours, uint8 (H, W, 3).
    """
    yield Loading(how.model)
    model, weights = shelf.get(how.model)
    seed = fresh_seed() if how.seed is None else how.seed
    sampler = _sampler(ConditionalSampler, model, how, seed)
    given = values
    if kind == "segmentation" and model.config.shift_labels:
        given = np.where(values == 0, 255, values.astype(np.int32) - 1)
    run = Following(how, sampler.steps(given, n_samples=how.count), sampler.decode)
    yield from run.follow()
    height, width = run.pictures[0].shape[:2]
    facts = {**_about(how.model, weights, kind), "seed": seed, **how.facts()}
    facts.update(map_sha256=_digest(values), indices=run.indices)
    yield Done(run.pictures, facts, run.frames, before=view[:height, :width])


def complete(
    shelf: Shelf, how: Drawing, photo: np.ndarray, mask: np.ndarray, label: int | None, blend: bool
) -> Iterator[Any]:
    """Draw anew what a mask, bool (H, W), marks of a photograph, uint8 (H, W, 3)."""
    yield Loading(how.model)
    model, weights = shelf.get(how.model)
    seed = fresh_seed() if how.seed is None else how.seed
    sampler = _sampler(Completion, model, how, seed)
    given = Given(photo, touched_cells(mask, model.downsampling), model.downsampling)

    def decode(indices: np.ndarray) -> np.ndarray:
        drawn = sampler.decode(indices)
        return np.stack([given.blend(one) for one in drawn]) if blend else drawn

    steps = sampler.steps(photo, mask.astype(np.uint8), label, n_samples=how.count)
    run = Following(how, steps, decode)
    yield from run.follow()
    facts = {**_about(how.model, weights, "complete"), "seed": seed, **how.facts()}
    facts.update(photo_sha256=_digest(photo), mask_sha256=_digest(mask), label=label)
    facts.update(blend=blend, cells=int(given.cells.sum()), indices=run.indices)
    height, width = run.pictures[0].shape[:2]
    yield Done(run.pictures, facts, run.frames, before=photo[:height, :width])


def gallery(
    shelf: Shelf, how: Drawing, label: int | None, size: tuple[int, int], task: str
) -> Iterator[Any]:
    """Draw pictures of a class, or of nothing; ``size`` is (height, width) in pixels."""
    yield Loading(how.model)
    model, weights = shelf.get(how.model)
    seed = fresh_seed() if how.seed is None else how.seed
    h, w = (side // model.downsampling for side in size)
    facts = {**_about(how.model, weights, task), "seed": seed, **how.facts(), "label": label}
    if model.condition == "coordinates":
        sampler = _sampler(ConditionalSampler, model, how, seed)
        run = Following(how, sampler.steps(size, n_samples=how.count), sampler.decode)
    else:
        fast = FastSampler(
            model,
            how.count,
            how.temperature,
            how.top_k,
            how.top_p,
            how.count,
            class_labels=None if label is None else [label],
            steps=None,
            seed=seed,
        )
        fast.check(h=h, w=w)
        batch = next(iter(fast.schedule.batches()))
        run = Following(how, fast.steps(batch, h=h, w=w), fast.decode)
    yield from run.follow()
    yield Done(run.pictures, {**facts, "indices": run.indices}, run.frames)


def _sampler(kind: Any, model: Any, how: Drawing, seed: int) -> Any:
    return kind(
        model,
        how.temperature,
        how.top_k,
        how.top_p,
        seed=seed,
        kernel_size=how.window,
        segmentation_save=False,
        progress=False,
    )


def _about(model: str, weights: str, task: str) -> dict[str, Any]:
    return {"task": task, "model": model, "weights_sha256": weights}


def _digest(array: np.ndarray) -> str:
    head = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()

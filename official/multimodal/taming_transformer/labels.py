"""Label maps: ids read from files and arrays, checked, resized, made one-hot and coloured.

Source: ``taming/data/sflckr.py`` and ``coco.py`` of CompVis/taming-transformers.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .image_files import MAX_PIXELS
from .map_files import load_labels
from .map_size import resize_and_crop, scale_map
from .palette import label_colours
from .paths import PathLike

IGNORED = 255  # the id that uint8 label maps give to unlabelled pixels
MAX_ONE_HOT_BYTES = 16 * 2**30


def read_labels(
    source: PathLike | Image.Image | np.ndarray,
    n_labels: int,
    *,
    shift: bool = False,
    ignore: int | None = None,
    size: int | None = None,
    scale_factor: float = 1.0,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a label map and check every id.

    Args:
        source: Path of a grey or palette picture or ``.npy`` file, Pillow image, or integer array
            (H, W). The indices of a palette picture are the ids.
        n_labels: How many labels the model knows: 182 (S-FLCKR), 183 (COCO), 151 (ADE20K), ...
        shift: Add 1 to every id and make 255 (unlabelled) 0, as the original does for COCO maps.
        ignore: The label that pixels of id 255 get; ``None`` leaves them out of range.
        size: Resize the shorter side to this and cut out the middle square; ``None`` keeps all.
        scale_factor: Resize by this factor, nearest neighbour. (The original resizes one-hot maps
            bicubically, which mixes labels; that is not copied.)
        max_pixels: Largest height * width that is read or made.

    Returns:
        int32 array (H, W), ids 0 .. ``n_labels - 1``.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: ``source`` is of another type, or holds no integers.
        ValueError: A photograph, ids out of range (which, how many and where), a broken file.
    """
    if n_labels < 1:
        raise ValueError(f"n_labels is {n_labels}; expected at least 1")
    if ignore is not None and (shift or not 0 <= ignore < n_labels):
        raise ValueError(
            f"ignore is {ignore} and shift is {shift}; expected a label 0..{n_labels - 1} for "
            "ignore, and no shift, which has its own place for 255"
        )
    ids, name = load_labels(source, max_pixels=max_pixels)
    labels = _to_labels(ids, n_labels, name, 0 if shift else ignore, int(shift))
    if size is not None:
        labels = resize_and_crop(labels, size, interpolation="nearest")
    return scale_map(labels, scale_factor, interpolation="nearest", max_pixels=max_pixels)


def _to_labels(
    ids: np.ndarray, n_labels: int, name: str, unlabelled: int | None, offset: int
) -> np.ndarray:
    # unlabelled: the label of id 255, or None; offset: added to every other id
    last = n_labels - 1 - offset
    valid = (ids >= 0) & (ids <= last)
    if unlabelled is None:
        _check_ids(ids, valid, f"0..{last}", name)
        return ids.astype(np.int32)
    ignored = ids == IGNORED
    _check_ids(ids, valid | ignored, f"0..{last} and 255", name)
    return np.where(ignored, unlabelled, ids.astype(np.int32) + offset).astype(np.int32)


def _check_ids(ids: np.ndarray, valid: np.ndarray, allowed: str, name: str) -> None:
    if valid.all():
        return
    places = np.argwhere(~valid)
    found, first, counts = np.unique(ids[~valid], return_index=True, return_counts=True)
    parts = [
        f"{found[i]} ({counts[i]} pixels, first at row {places[first[i]][0]}, "
        f"column {places[first[i]][1]})"
        for i in range(min(3, len(found)))
    ]
    more = f" and {len(found) - 3} other values" if len(found) > 3 else ""
    cure = "make the map with the labels of this model; a photograph is no label map"
    if IGNORED in found:
        cure = f"where 255 means unlabelled, pass ignore=<label> or, for COCO, shift=True; {cure}"
    raise ValueError(
        f"{name} has labels out of range: {', '.join(parts)}{more}; expected {allowed}: {cure}"
    )


def one_hot(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Make a label map what a segmentation network takes.

    Args:
        labels: Integer array (H, W), ids 0 .. ``n_labels - 1``.
        n_labels: Number of channels.

    Returns:
        float32 array (1, n_labels, H, W), contiguous, of zeros and ones.

    Raises:
        ValueError: An id out of range, another shape, or more than 16 GiB to fill.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise ValueError(f"got {labels.dtype} {labels.shape}; expected integer labels (H, W)")
    _check_ids(labels, (labels >= 0) & (labels < n_labels), f"0..{n_labels - 1}", "the label map")
    if 4 * n_labels * labels.size > MAX_ONE_HOT_BYTES:
        raise ValueError(
            f"{n_labels} labels of {labels.shape[1]}x{labels.shape[0]} pixels need "
            f"{4 * n_labels * labels.size / 2**30:.0f} GiB; expected at most 16: scale the map down"
        )
    x = np.zeros((1, n_labels, *labels.shape), np.float32)
    np.put_along_axis(x[0], labels[None].astype(np.int64), 1.0, axis=0)
    return x


def colourise_labels(labels: np.ndarray) -> np.ndarray:
    """Colour a label map for people to look at.

    Args:
        labels: Integer array (H, W), ids 0 .. 65,535.

    Returns:
        uint8 array (H, W, 3): :func:`label_colours` of each id.

    Raises:
        ValueError: Another shape, no integers, or an id out of range.
    """
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "ui":
        raise ValueError(f"got {labels.dtype} {labels.shape}; expected integer labels (H, W)")
    if labels.min() < 0:
        raise ValueError(f"the label map has the id {labels.min()}; expected 0 or more")
    return label_colours(int(labels.max()) + 1)[labels]

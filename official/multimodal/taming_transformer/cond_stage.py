"""What conditions a transformer when it is not a VQGAN: one ``encode`` to tokens each.

Sources: taming/modules/util.py (SOSProvider, Labelator), taming/modules/misc/coord.py (CoordStage)
and taming/models/dummy_cond_stage.py of CompVis/taming-transformers @3ba01b2.
"""

from __future__ import annotations

import numpy as np


def encode_sos(batch: int, token: int = 0) -> np.ndarray:
    """Return the start token of an unconditional model, int32 (batch, 1)."""
    return np.full((batch, 1), token, np.int32)


def encode_labels(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return class labels as tokens, int32 (B, 1).

    Args:
        labels: Whole numbers (B,) or (B, 1) in 0 .. n_classes - 1.
        n_classes: Classes that the model knows.

    Raises:
        ValueError: The shape is another one, or a label is not a class.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or labels.size != labels.shape[0] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"got labels of shape {labels.shape} and dtype {labels.dtype}, expected integers (B,)"
        )
    unknown = labels[(labels < 0) | (labels >= n_classes)]
    if unknown.size:
        raise ValueError(f"class {int(unknown[0])} is unknown: classes are 0..{n_classes - 1}")
    return labels.reshape(-1, 1).astype(np.int32)


def encode_coordinates(c: np.ndarray, n_embed: int, down_factor: int) -> np.ndarray:
    """Return the position of each latent cell as a token, int32 (B, h, w).

    Args:
        c: Raster positions (B, 1, H, W) in [0, 1], row by row over the whole picture.
        n_embed: Tokens that the interval is divided into.
        down_factor: Pixels along one side of a cell; divides H and W.

    Raises:
        ValueError: The shape or the range is another one.
    """
    c = np.asarray(c, np.float32)
    if c.ndim != 4 or c.shape[1] != 1 or c.shape[2] % down_factor or c.shape[3] % down_factor:
        raise ValueError(
            f"got coordinates of shape {c.shape}, expected (B, 1, H, W) with multiples of "
            f"{down_factor}"
        )
    if not (c.min() >= 0 and c.max() <= 1):
        raise ValueError(f"coordinates span {c.min()}..{c.max()}, expected 0..1")
    b, _, height, width = c.shape
    h, w = height // down_factor, width // down_factor
    cells = c.reshape(b, h, down_factor, w, down_factor).mean(axis=(2, 4), dtype=np.float32)
    # numpy rounds halves to even, as torch does; a cell at 1.0 would be one past the last token
    return np.minimum(np.round(cells * n_embed), n_embed - 1).astype(np.int32)


def encode_tokens(tokens: np.ndarray, vocab_size: int, length: int) -> np.ndarray:
    """Pass ready-made tokens (a scene layout) through, int32 (B, length).

    Raises:
        ValueError: The shape is another one, or a token is outside the vocabulary.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[1] != length or tokens.dtype.kind not in "iu":
        raise ValueError(
            f"got layout tokens of shape {tokens.shape} and dtype {tokens.dtype}, expected "
            f"integers (B, {length}): scene_layout.encode_layout makes them"
        )
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(f"layout tokens must be in 0..{vocab_size - 1}")
    return tokens.astype(np.int32)

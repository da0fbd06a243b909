"""Draw weights and inputs that are the same, bit for bit, on both sides of a comparison.

Only NumPy is needed, and of NumPy only the raw Philox bits, whose stream is guaranteed, and
integer and single float32 operations, which round alike everywhere. So the numbers depend on the
seed, the tensor's name and its shape, and on no version of anything: a golden file need not hold
the weights that it was made with.
"""

from __future__ import annotations

import hashlib
from typing import Iterable, Mapping, Tuple

import numpy as np

Shape = Tuple[int, ...]
ROOT3 = np.float32(1.7320508)
# Names of matrices whose inputs have a mean that would drown their variation: rows sum to zero.
ZERO_MEAN_ROWS = (
    "quant_conv.weight",
    "quantize.proj.weight",
    "blocks.input.w",
    "id_path.w",
    "res_path.conv_1.w",
    "res_path.conv_2.w",
    "res_path.conv_3.w",
    "res_path.conv_4.w",
    "output.conv.w",
    "encoder.conv_out.weight",
)
# Factors on 1/sqrt(fan-in) by the ending of the name, first match; 1 for all others.
GAINS = (
    ((".key.weight", ".query.weight", ".q.weight", ".k.weight"), 1.5),  # tells positions apart
    (("res_path.conv_4.w",), 24.0),  # OpenAI's blocks divide this path by 64
    (("blocks.input.w",), 4.0),
    (("decoder.blocks.output.conv.w",), 1.0),  # pixels that are not all clamped
    (("encoder.blocks.output.conv.w",), 2.0),
    (("id_path.w",), 1.0),
    (ZERO_MEAN_ROWS, 2.0),
)


def raw_words(name: str, count: int, seed: int) -> np.ndarray:
    """Return ``count`` uint32 words that belong to ``name`` under ``seed``."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    key = int.from_bytes(digest[:16], "little")
    return np.random.Philox(key=key).random_raw((count + 1) // 2).view(np.uint32)[:count]


def centred(name: str, shape: Shape, seed: int) -> np.ndarray:
    """Return uniform float32 numbers of mean 0 and variance 1: within +-1.7321."""
    count = int(np.prod(shape, dtype=np.int64))
    whole = (raw_words(name, count, seed) >> np.uint32(8)).astype(np.int32) - (1 << 23)
    if name.endswith(ZERO_MEAN_ROWS):
        rows = whole.astype(np.int64).reshape(shape[0], -1)
        whole = (rows - rows.sum(axis=1, keepdims=True) // rows.shape[1]).astype(np.int32)
    numbers = whole.astype(np.float32).reshape(shape)
    numbers *= np.float32(2.0**-23) * ROOT3
    return numbers


def _matrix_gain(name: str) -> float:
    """Return the factor on 1/sqrt(fan-in) that keeps activations near unit variance."""
    for endings, gain in GAINS:
        if name.endswith(endings):
            return gain
    return 1.0


def draw_tensor(name: str, shape: Shape, seed: int) -> np.ndarray:
    """Draw one tensor of a network, at the scale that its name asks for.

    Args:
        name: Name in the state dict, as the original has it.
        shape: Its shape there.
        seed: Of the whole network.

    Returns:
        A float32 array. Nothing is constant: biases, norms, positions and codebooks vary too.
    """
    numbers = centred(name, shape, seed)
    if "embedding.weight" in name or "quantize.embed.weight" in name:
        return numbers * np.float32(2.0 if shape[1] <= 4 else 1.0)  # as wide as what they code
    if name.endswith(("tok_emb.weight", "pos_emb")):
        return numbers * np.float32(0.7)
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:], dtype=np.int64))
        numbers *= np.float32(_matrix_gain(name) / fan_in**0.5)
        return numbers
    numbers *= np.float32(0.05 if name.endswith(".b") else 0.2)
    if name.endswith(".weight"):  # of a norm
        numbers += np.float32(1.0)
    return numbers


def draw_weights(shapes: Mapping[str, Shape], seed: int) -> dict[str, np.ndarray]:
    """Draw every tensor of a network: name to float32 array."""
    return {name: draw_tensor(name, tuple(shape), seed) for name, shape in shapes.items()}


def draw_image(name: str, shape: Shape, seed: int) -> np.ndarray:
    """Draw a picture (B, C, H, W), float32 in [-1, 1): noise over random patches of 8 by 8."""
    b, c, h, w = shape
    coarse = centred(f"{name}/coarse", (b, c, -(-h // 8), -(-w // 8)), seed) / ROOT3
    patches = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :h, :w]
    fine = centred(f"{name}/fine", shape, seed) / ROOT3
    return np.ascontiguousarray((patches + fine) * np.float32(0.5))


def draw_indices(name: str, shape: Shape, high: int, seed: int) -> np.ndarray:
    """Draw int64 numbers in 0 .. high - 1."""
    count = int(np.prod(shape, dtype=np.int64))
    words = raw_words(name, count, seed).astype(np.uint64)
    return ((words * np.uint64(high)) >> np.uint64(32)).astype(np.int64).reshape(shape)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Turn labels (B, H, W) into a float32 one-hot map (B, classes, H, W)."""
    return np.ascontiguousarray(np.eye(classes, dtype=np.float32)[labels].transpose(0, 3, 1, 2))


def fingerprint(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return the SHA-256 over names, shapes and float32 bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, array in sorted(tensors):
        digest.update(f"{name}{tuple(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()

"""Pass pictures through a first-stage model and measure what it keeps of them.

PSNR and SSIM are scikit-image's. SSIM is Wang et al. 2004: Gaussian window of sigma 1.5,
K1 = 0.01, K2 = 0.03, on the three colours, averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
from megengine import Tensor
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from official.multimodal.taming_transformer.image import to_uint8, to_unit_range
from official.multimodal.taming_transformer.paths import one_line
from tools.evaluation.codes import CodeUse
from tools.evaluation.pictures import load

LEAST_SIDE = 11
"""SSIM's window has so many pixels."""


@dataclass(frozen=True)
class PictureFigures:
    """What a model keeps of one picture.

    Attributes:
        path: Of the picture.
        psnr: Peak signal-to-noise ratio in dB; infinite where nothing is lost.
        ssim: Structural similarity, at most 1.
        l1: Mean absolute difference of the pixels' values in 0 .. 1.
        enlarged: The picture was smaller than the model's size.
    """

    path: Path
    psnr: float
    ssim: float
    l1: float
    enlarged: bool


@dataclass(frozen=True, eq=False)
class Measured:
    """A model's figures over a set of pictures.

    Attributes:
        name: Of the model.
        size: Side of the pictures in pixels.
        pictures: Figures of every picture, in the order of the files.
        use: How often each code occurs over the whole set.
        skipped: Files that are no pictures, each with the reason.
    """

    name: str
    size: int
    pictures: tuple[PictureFigures, ...]
    use: CodeUse
    skipped: tuple[str, ...]

    def mean(self, figure: str) -> float:
        """Return the mean of ``psnr``, ``ssim`` or ``l1`` over the pictures."""
        return float(np.mean([getattr(one, figure) for one in self.pictures]))

    def ranked(self) -> list[PictureFigures]:
        """Return the pictures from the best PSNR to the worst."""
        return sorted(self.pictures, key=lambda one: (-one.psnr, str(one.path)))


class Reconstructor:
    """A first-stage model that gives codes and pictures in one pass.

    Args:
        model: ``VQModel``, ``GumbelVQ`` or ``DVAE`` of RGB pictures.
        size: Side of the pictures; ``None`` is the one that the model was trained on.

    Raises:
        ValueError: The model takes no RGB pictures, or ``size`` does not fit it.
    """

    def __init__(self, model: Any, size: int | None = None):
        if model.in_channels != 3:
            raise ValueError(f"the model takes {model.in_channels} channels; expected one of RGB")
        self.size = model.resolution if size is None else size
        factor = model.downsampling
        if self.size < LEAST_SIDE or self.size % factor:
            raise ValueError(
                f"size is {self.size}; expected a multiple of {factor}, at least {LEAST_SIDE}"
            )
        self.model = model
        model.eval()

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the reconstruction uint8 (size, size, 3) and the codes int (h, w)."""
        x = to_unit_range(picture).astype(self.model.dtype, copy=False)
        z_q, indices = self.model.encode(Tensor(x, device=self.model.device))
        decoded = self.model.decode(z_q).numpy().astype(np.float32, copy=False)
        return to_uint8(decoded), indices.numpy()[0]


def compare(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Return PSNR in dB, SSIM and L1 of two RGB uint8 pictures (H, W, 3)."""
    same = np.array_equal(before, after)
    psnr = math.inf if same else float(peak_signal_noise_ratio(before, after, data_range=255))
    ssim = structural_similarity(
        before,
        after,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    l1 = np.abs(before.astype(np.int16) - after.astype(np.int16)).mean() / 255
    return psnr, float(ssim), float(l1)


def measure(
    name: str,
    reconstruct: Reconstructor,
    paths: Sequence[Path],
    tick: Callable[[], object] = lambda: None,
) -> Measured:
    """Measure a model over a set of pictures; a file that is no picture is passed over.

    Args:
        name: Of the model.
        reconstruct: The model.
        paths: The pictures.
        tick: Called after each of them.

    Raises:
        ValueError: None of the files is a picture.
    """
    figures, skipped = [], []
    counts = np.zeros(reconstruct.model.n_embed, np.int64)
    for path in paths:
        try:
            picture, enlarged = load(path, reconstruct.size)
        except (ValueError, OSError) as error:
            skipped.append(one_line(error))
        else:
            after, codes = reconstruct(picture)
            counts += np.bincount(codes.ravel(), minlength=counts.size)
            figures.append(PictureFigures(path, *compare(picture, after), enlarged))
        tick()
    if not figures:
        raise ValueError(f"none of {len(paths)} files is a picture: {skipped[0]}")
    return Measured(name, reconstruct.size, tuple(figures), CodeUse(counts), tuple(skipped))

"""Draw a part of a picture anew: its lower half, or what a mask marks.

Source: "image completion" of scripts/sample_conditional.py of CompVis/taming-transformers @3ba01b2.
Differences: where the half begins in the middle of a row, the rows below begin at their left edge
(the original leaves their first columns empty); and there are masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Iterator

import numpy as np
from PIL import Image

from .conditions import Source, encode_floored, latent_size
from .drawing import Drawing, digest
from .image import read_image, to_unit_range
from .image_files import PathLike
from .maps import coordinates
from .picture_run import Task, new_seed, run
from .results import SamplingResult
from .sampler import Sampler, default_name, paths_of, sample_numbers
from .window import Step

# From this grey on, a pixel of a mask that is a picture is white.
WHITE = 128


@dataclass(frozen=True, eq=False)
class Given:
    """A picture and the cells of it that are to be drawn.

    Attributes:
        picture: RGB uint8 (H, W, 3), resized.
        cells: Bool (h, w), true where a cell is drawn anew.
        factor: Pixels along one side of a cell.
    """

    picture: np.ndarray
    cells: np.ndarray
    factor: int

    def blend(self, drawn: np.ndarray) -> np.ndarray:
        """Return a drawn picture (f*h, f*w, 3) with the source put back outside the cells."""
        inside = self.cells.repeat(self.factor, axis=0).repeat(self.factor, axis=1)
        source = self.picture[: drawn.shape[0], : drawn.shape[1]]
        return np.where(inside[:, :, None], drawn, source)


class Completion(Sampler):
    """Complete pictures with a transformer of any kind.

    A cell of the latent (16x16 pixels) is drawn anew if the mask touches any of its pixels; the
    others keep the picture's tokens. Cells are drawn in raster order, row by row, and a cell sees
    only what comes before it: **known cells further on, below a hole or right of it, are not
    seen**, so a hole joins its surroundings at the top and the left better than elsewhere. The
    tokens of known cells are those of the whole picture: what stands in the hole, and close to
    its edge, colours them a little.

    Args and files: as for ``ConditionalSampler``; ``{name}_reconstruction.png`` is of the picture
    given. ``scale_factor`` and ``image_size`` resize the picture and the mask too.

    Example:
        >>> complete = Completion(drin_transformer(pretrained=True), top_k=100)  # doctest: +SKIP
        >>> complete("photo.jpg", c="depth.png").picture  # doctest: +SKIP
    """

    def __call__(
        self,
        x: Any,
        mask: PathLike | Image.Image | np.ndarray | None = None,
        c: Any = None,
        name: str | None = None,
        *,
        n_samples: int = 1,
        start: int = 0,
        blend: bool = False,
    ) -> SamplingResult:
        """Complete a picture.

        Args:
            x: Picture: path, Pillow image or RGB uint8 array (H, W, 3).
            mask: What to draw anew: an array (H, W), where it is not 0; or a picture of the size
                of ``x``, where it is white (or transparent). ``None`` keeps the upper half of the
                cells, as in the original.
            c: Condition of the model: the map of ``x`` (of its size), a class, a layout;
                nothing for unconditional models and coordinates.
            name: What the files' names begin with; the stem of ``x`` by default.
            n_samples: Completions of the same picture, drawn together.
            start: Number of the first sample.
            blend: Put the pixels of ``x`` back wherever no cell was drawn; else they come out of
                the decoder like the rest.

        Returns:
            The completed pictures; their sides are those of ``x``, floored to whole cells.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: An input is of another type.
            ValueError: Sizes differ, the mask marks nothing, the condition does not fit, or a run
                with other settings is there.
            OSError: The folder cannot be written or is full.
        """
        task = self._task(x, mask, c, n_samples, start, blend)
        return run(self.model, self.options, task, default_name(x, "completion", name))

    def check(
        self,
        x: Any,
        mask: PathLike | Image.Image | np.ndarray | None = None,
        c: Any = None,
        name: str | None = None,
        *,
        n_samples: int = 1,
        start: int = 0,
    ) -> None:
        """Read and check all inputs of a call and run nothing; the model may lack its weights.

        Arguments and errors are those of the call.
        """
        self._task(x, mask, c, n_samples, start, False)
        default_name(x, "completion", name)

    def steps(
        self,
        x: Any,
        mask: PathLike | Image.Image | np.ndarray | None = None,
        c: Any = None,
        *,
        n_samples: int = 1,
        start: int = 0,
    ) -> Iterator[Step]:
        """Draw cell by cell, for streams: no files, no bars; close the generator to cancel.

        Arguments and errors are those of the call; ``decode(step.indices)`` gives the pictures.
        """
        task = self._task(x, mask, c, n_samples, start, False)
        return task.make(new_seed(self.options)).steps()

    def _task(self, x: Any, mask: Any, c: Any, n_samples: int, start: int, blend: bool) -> Task:
        samples = sample_numbers(n_samples, start)
        given = self._given(x, mask)
        source = self._condition(given, c, n_samples)

        def make(seed: int) -> Drawing:
            stage = self.model.first_stage_model
            tokens = encode_floored(stage, to_unit_range(given.picture))[0]
            fill = np.where(given.cells, 0, tokens)
            return self._drawing(source, samples, seed, fill, given.cells)

        def decode(indices: np.ndarray) -> np.ndarray:
            picture = self._decode(indices)
            return given.blend(picture) if blend else picture

        views = {"_reconstruction.png": lambda: self._reconstruct(given.picture)}
        if source.view is not None and self.options.segmentation_save:
            views[f"_{source.kind}.png"] = lambda: np.asarray(source.view)
        extra = {
            "picture_sha256": digest(given.picture),
            "mask_sha256": digest(given.cells),
            "blend": bool(blend),
        }
        cells = int(given.cells.sum())
        return Task(source, samples, cells, make, decode, views, extra, paths_of(x, mask, c))

    def _given(self, x: Any, mask: Any) -> Given:
        if x is None:
            raise ValueError("there is no picture to complete: pass its path or array as x")
        whole, factor = read_image(x), self.model.downsampling
        marked = None if mask is None else read_mask(mask, whole.shape[:2])
        picture = self._read_picture(whole)
        h, w = latent_size(picture.shape[0], picture.shape[1], factor, "the picture")
        if marked is None:
            return Given(picture, lower_half((h, w)), factor)
        marked = self._resize(marked.astype(np.uint8), "nearest").astype(bool)
        cells = touched_cells(marked, factor)
        if not cells.any():
            raise ValueError(
                "the mask marks no cell of the picture, so there is nothing to draw; expected "
                "an array that is not 0, or a picture that is white, where to draw anew"
            )
        return Given(picture, cells, factor)

    def _condition(self, given: Given, c: Any, n_samples: int) -> Source:
        kind, (h, w) = self.model.condition, given.cells.shape
        if kind == "coordinates" and c is None:
            c = coordinates(h * given.factor, w * given.factor)
        on_map = kind in ("segmentation", "depth", "coordinates")
        source = self._read(c, n_samples, None if on_map else h, None if on_map else w)
        if on_map and source.shape != (h, w):
            sides = given.picture.shape
            raise ValueError(
                f"the picture has {sides[1]}x{sides[0]} pixels, {w}x{h} cells, and its map "
                f"{source.values.shape[1]}x{source.values.shape[0]}, {source.shape[1]}x"
                f"{source.shape[0]} cells; expected the same size"
            )
        return source


def lower_half(shape: tuple[int, int]) -> np.ndarray:
    """Return the cells, bool (h, w), of the second half of the raster, as the original takes it."""
    cells = np.arange(math.prod(shape)).reshape(shape)
    return np.asarray(cells >= cells.size // 2)


def touched_cells(mask: np.ndarray, factor: int) -> np.ndarray:
    """Return which cells, bool (H // f, W // f), hold any marked pixel of a mask (H, W)."""
    h, w = mask.shape[0] // factor, mask.shape[1] // factor
    blocks = mask[: h * factor, : w * factor].reshape(h, factor, w, factor)
    return np.asarray(blocks.any(axis=(1, 3)))


def read_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Read a mask of a picture of (H, W) pixels: bool (H, W), true where to draw anew.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: It is of another type.
        ValueError: It has another size, or cannot be read.
    """
    if isinstance(mask, np.ndarray) and mask.ndim == 2:
        marked = mask != 0
    else:
        marked = (read_image(mask) >= WHITE).any(axis=2)
    if marked.shape != tuple(shape):
        raise ValueError(
            f"the mask has {marked.shape[1]}x{marked.shape[0]} pixels and the picture "
            f"{shape[1]}x{shape[0]}; expected the same size"
        )
    return np.asarray(marked)

"""What the samplers that write files have in common: settings, conditions and decoding."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from megengine import Tensor

from .animation import checked_formats
from .conditions import (
    Source,
    encode_floored,
    encode_source,
    read_coordinates,
    read_fixed,
    read_map,
    window_condition,
)
from .drawing import Drawing
from .image import read_image, to_uint8, to_unit_range
from .image_files import PathLike
from .map_size import resize_and_crop, scale_map
from .net2net import Net2NetTransformer
from .options import (
    MAP_CONDITIONS,
    SamplerOptions,
    check_filled,
    check_model,
    check_window,
    checked_root,
    one_kernel_size,
)
from .sampling import SamplingParams
from .store import check_name
from .window import DEFAULT_CACHE_MEMORY


class Sampler:
    """A model with its settings; ``ConditionalSampler`` and ``Completion`` say what is drawn."""

    def __init__(
        self,
        model: Net2NetTransformer,
        temperature: float = 1.0,
        top_k: int | None = 100,
        top_p: float = 1.0,
        update_every: int | None = None,
        *,
        scale_factor: float = 1.0,
        animate: bool | str | Sequence[str] = False,
        root: PathLike | None = None,
        seed: int | None = None,
        kernel_size: int | None = None,
        fps: float = 15,
        draw_window: bool = False,
        segmentation_save: bool = True,
        kernal_size: int | None = None,
        cache_memory: float = DEFAULT_CACHE_MEMORY,
        image_size: int | None = None,
        invert: bool = False,
        ignore: int | None = None,
        progress: bool | None = None,
        overwrite: bool = False,
    ):
        self.model = check_model(model)
        self.options = SamplerOptions(
            params=SamplingParams(temperature, top_k, top_p),
            side=one_kernel_size(kernel_size, kernal_size, model.config.window),
            update_every=update_every,
            scale_factor=scale_factor,
            image_size=image_size,
            invert=invert,
            ignore=ignore,
            films=checked_formats(animate),
            draw_window=draw_window,
            root=checked_root(root),
            seed=seed,
            fps=fps,
            segmentation_save=segmentation_save,
            cache_memory=cache_memory,
            progress=progress,
            overwrite=overwrite,
        )
        _check_fits(model, self.options)
        model.eval()

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures of tokens, decoded one at a time.

        Args:
            indices: Integers (n, h, w), such as a step's.

        Returns:
            uint8 (n, f*h, f*w, 3).
        """
        return np.stack([self._decode(codes) for codes in indices])

    def _decode(self, indices: np.ndarray) -> np.ndarray:
        """Return the picture uint8 (H, W, 3) of tokens (h, w)."""
        codes = Tensor(np.array(indices[None], np.int32), device=self.model.device)
        return to_uint8(self.model.decode_to_img(codes).numpy().astype(np.float32, copy=False))

    def _read_picture(self, x: Any) -> np.ndarray:
        """Read a picture and resize it as its map is."""
        smooth = "linear" if self.model.condition == "depth" else "cubic"
        return self._resize(read_image(x), smooth)

    def _resize(self, array: np.ndarray, interpolation: str) -> np.ndarray:
        size = self.options.image_size
        if size is not None:
            array = resize_and_crop(array, size, interpolation=interpolation)
        return scale_map(array, self.options.scale_factor, interpolation=interpolation)

    def _reconstruct(self, picture: np.ndarray) -> np.ndarray:
        return self._decode(encode_floored(self.model.first_stage_model, to_unit_range(picture))[0])

    def _read(self, c: Any, n_samples: int, h: int | None, w: int | None) -> Source:
        kind = self.model.condition
        if kind not in MAP_CONDITIONS:
            return read_fixed(self.model, c, n_samples, h, w)
        if h is not None or w is not None:
            raise ValueError(f"h and w follow from the condition of a {kind} model: leave them out")
        read = read_coordinates if kind == "coordinates" else read_map
        return read(self.model, c, self.options)

    def _drawing(
        self,
        source: Source,
        samples: tuple[int, ...],
        seed: int,
        given: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> Drawing:
        """Encode the condition; ``given`` are the tokens (h, w) where ``mask`` is false."""
        model, options = self.model, self.options
        check_filled(model)
        tokens = encode_source(model, source)
        vocabulary = model.config.transformer.vocab_size
        fill = _first_tokens(tokens, source.shape, model.n_embed) if given is None else given
        # the original's script for scenes keeps 7 cells before the cell, its other scripts 8
        before = options.side - 1 if source.kind == "scene_layout" else options.side
        return Drawing(
            gpt=model.transformer,
            condition=window_condition(source, tokens, options.side, vocabulary),
            fill=np.repeat(fill[None].astype(np.int32), len(samples), axis=0),
            mask=np.ones(source.shape, bool) if mask is None else mask,
            params=options.params,
            seed=seed,
            samples=samples,
            n_embed=model.n_embed,
            side=options.side,
            centre=before // 2,
            cache_memory=options.cache_memory,
        )


def _check_fits(model: Net2NetTransformer, options: SamplerOptions) -> None:
    options.params.check_vocabulary(model.n_embed)
    check_window(model.config, options.side)


def _first_tokens(tokens: np.ndarray, shape: tuple[int, int], n_embed: int) -> np.ndarray:
    """Return what is shown before anything is drawn, (h, w): the map's tokens, as in the original.

    The transformer never looks at them.
    """
    if tokens.shape[1:] == shape:
        return np.asarray(np.minimum(tokens[0], n_embed - 1))
    return np.zeros(shape, np.int32)


def sample_numbers(n_samples: int, start: int) -> tuple[int, ...]:
    """Return the numbers of the samples to draw.

    Raises:
        ValueError: There are none, or a number is negative.
    """
    for name, value, least in (("n_samples", n_samples, 1), ("start", start, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}")
    return tuple(range(start, start + n_samples))


def paths_of(*inputs: Any) -> tuple[Path, ...]:
    """Return those of the inputs that are paths."""
    return tuple(Path(given) for given in inputs if isinstance(given, (str, os.PathLike)))


def default_name(source: Any, otherwise: str, name: str | None) -> str:
    """Return the name of the files: as given, else the input file's stem, else ``otherwise``.

    Raises:
        ValueError: The name cannot be used.
    """
    if name is not None:
        return check_name(name)
    return check_name(next((path.stem for path in paths_of(source)), otherwise))

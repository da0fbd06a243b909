"""Pictures from label maps, depth maps, positions, classes, layouts, or nothing, at any size.

Source: scripts/sample_conditional.py and make_samples.py of CompVis/taming-transformers @3ba01b2.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np

from .conditions import Size, maps_in
from .picture_run import Task, new_seed, run
from .results import SamplingResult
from .sampler import Sampler, default_name, paths_of, sample_numbers
from .window import Step


class ConditionalSampler(Sampler):
    """Draw pictures of any size through a sliding window, with previews and films on the way.

    Every call returns a ``SamplingResult``; files are written only where ``root`` is given. A run
    that is interrupted (Ctrl-C, kill) goes on where it stopped when the same call is made again:
    to the same tokens, except where the two best candidates lie within the rounding of the
    network (1e-4). A run that is there with other settings is never written over.

    Recommended settings are in the zoo's table (``list_models()``).

    Args:
        model: A transformer of the zoo; it is put into ``eval()``.
        temperature: Divides the logits, > 0: below 1 is safer, above 1 more varied.
        top_k: Choose among the k best tokens; 1 is greedy (always the best), ``None`` all.
        top_p: Choose among the best tokens whose probabilities sum to this; in (0, 1].
        update_every: Show the picture after every so many tokens; ``None`` shows it as often as
            fits into 10 % of the time, at most 60 times.
        scale_factor: Resize the map by this factor: label maps by nearest neighbour, depth maps
            bilinearly, sizes in pixels as they are. (The original resizes one-hot maps
            bicubically, which mixes labels.)
        animate: Write the previews as a film, ``{name}_sampling.mp4``; or one or several of
            ``"mp4"``, ``"gif"`` and ``"webp"``.
        root: Folder for files; made if need be. ``None`` writes nothing.
        seed: 0 .. 2**64 - 1. ``None`` chooses a fresh one, or that of the run that is there.
        kernel_size: Side of the window in cells; ``None`` is the model's own (16). Smaller ones
            work and give worse pictures: the model has learned positions in its own window.
        fps: Frames of the film a second.
        draw_window: Draw the window and the latest cell into the film's frames.
        segmentation_save: Write the map in colours, ``{name}_segmentation.png`` or ``_depth.png``.
        kernal_size: Another spelling of ``kernel_size``, from the first port's documentation.
        cache_memory: Bytes for keys and values of windows that come back and the one in use.
        image_size: Resize the map's shorter side to this and cut out the middle square, as the
            original does (256) for D-RIN, ADE20K and COCO; ``None`` keeps the whole map.
        invert: The depth map has far large; models know inverse depth, near large.
        ignore: The label that pixels of id 255 get, for label maps with unlabelled pixels.
        progress: Draw a bar; ``None`` draws one where stderr is a terminal, or in a notebook.
        overwrite: Begin anew where a run of the same name is there.

    Raises:
        TypeError: ``model`` is no transformer.
        ValueError: A setting is out of range for the model.

    Example:
        >>> sampler = ConditionalSampler(s_flckr_transformer(pretrained=True))  # doctest: +SKIP
        >>> sampler.sample_segmentation("labels.png").picture  # doctest: +SKIP
    """

    def __call__(
        self,
        c: Any = None,
        x: Any = None,
        name: str | None = None,
        *,
        n_samples: int = 1,
        start: int = 0,
        h: int | None = None,
        w: int | None = None,
    ) -> Any:
        """Draw pictures of one condition, or of every map in a folder.

        Files with a ``root``: ``{name}.png`` (``{name}_000.png`` ... for several samples), with
        seed and parameters in its metadata; ``{name}.json`` with everything;
        ``_segmentation.png`` or ``_depth.png``; ``_first_sample.png``; ``_reconstruction.png``
        where ``x`` is given; ``_sample_{tokens}.png`` on the way; ``_sampling.mp4`` (``.gif``,
        ``.webp``). Previews are of the first sample. The picture's sides are the map's, floored to
        multiples of the model's factor, as in the original.

        Args:
            c: Label map or depth map: path, Pillow image or array, or a folder of them. For
                coordinates the size in pixels: a side or (height, width). A class, or one a
                sample. Layout tokens (``encode_layout``). Nothing for an unconditional model.
            x: Picture that belongs to the map: its reconstruction is written beside the result.
            name: What the files' names begin with; the input file's stem by default.
            n_samples: Pictures of the same condition, drawn together.
            start: Number of the first sample; its random numbers hang on it, so that sample 7 of
                a run is made again alone by ``start=7``.
            h: Cells of the latent's height, for models without a map; the model's window.
            w: Cells of the latent's width.

        Returns:
            A ``SamplingResult``; for a folder a list of them.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError: An input is of another type.
            ValueError: An input does not fit the model, or a run with other settings is there.
            OSError: The folder cannot be written or is full.
        """
        if isinstance(c, (str, os.PathLike)) and Path(c).is_dir():
            self.check(c, x, name, n_samples=n_samples, start=start)
            return [self(path, n_samples=n_samples, start=start) for path in maps_in(Path(c))]
        task = self._task(c, x, n_samples, start, h, w)
        return run(self.model, self.options, task, default_name(c, _kind_name(task), name))

    def check(
        self,
        c: Any = None,
        x: Any = None,
        name: str | None = None,
        *,
        n_samples: int = 1,
        start: int = 0,
        h: int | None = None,
        w: int | None = None,
    ) -> None:
        """Read and check all inputs of a call and run nothing; the model may lack its weights.

        Arguments and errors are those of the call.
        """
        folder = isinstance(c, (str, os.PathLike)) and Path(c).is_dir()
        if folder and (x is not None or name is not None or self.options.root is None):
            raise ValueError(
                f"{str(c)!r} is a folder: its maps name the results, so leave x and name out "
                "and give the sampler root=, the folder for the results"
            )
        for one in maps_in(Path(c)) if folder else [c]:
            task = self._task(one, x, n_samples, start, h, w)
            default_name(one, _kind_name(task), name)

    def sample_segmentation(self, c: Any, x: Any = None, name: str | None = None, **kw: Any) -> Any:
        """Draw pictures of a label map; as for calling the sampler."""
        return self._of_kind("segmentation")(c, x, name, **kw)

    def sample_depth(self, c: Any, x: Any = None, name: str | None = None, **kw: Any) -> Any:
        """Draw pictures of a depth map; as for calling the sampler."""
        return self._of_kind("depth")(c, x, name, **kw)

    def sample_coordinates(self, size: Size, name: str | None = None, **kw: Any) -> Any:
        """Draw pictures of a size in pixels (a side, or height and width) from their positions."""
        return self._of_kind("coordinates")(size, None, name, **kw)

    def sample_class(
        self, label: int | Sequence[int], name: str | None = None, **kw: Any
    ) -> SamplingResult:
        """Draw pictures of a class (or one class a sample); the rest as for calling."""
        if not isinstance(label, (int, np.integer)):
            kw.setdefault("n_samples", len(label))
        return self._of_kind("class")(label, None, name, **kw)

    def sample_layout(self, tokens: np.ndarray, name: str | None = None, **kw: Any) -> Any:
        """Draw pictures of a scene layout (``encode_layout``); the rest as for calling.

        Where the picture is larger than a window, every window gets its own crop.
        """
        return self._of_kind("scene_layout")(tokens, None, name, **kw)

    def sample_unconditional(self, name: str | None = None, **kw: Any) -> SamplingResult:
        """Draw pictures without a condition, ``h`` x ``w`` cells large."""
        return self._of_kind("unconditional")(None, None, name, **kw)

    def steps(
        self,
        c: Any = None,
        *,
        n_samples: int = 1,
        start: int = 0,
        h: int | None = None,
        w: int | None = None,
    ) -> Iterator[Step]:
        """Draw token by token, for streams: no files, no bars; close the generator to cancel.

        ``sampler.decode(step.indices)`` gives the pictures as they stand. Inputs are checked and
        encoded before this returns. Give the sampler a seed if the picture is to be made again.

        Args:
            c: As for calling the sampler, one map.
            n_samples: As for calling the sampler.
            start: As for calling the sampler.
            h: As for calling the sampler.
            w: As for calling the sampler.

        Returns:
            A generator of ``Step``: number, total, row, column, window and all tokens so far.

        Raises:
            FileNotFoundError, TypeError, ValueError: As for calling the sampler.
        """
        task = self._task(c, None, n_samples, start, h, w)
        return task.make(new_seed(self.options)).steps()

    def _of_kind(self, kind: str) -> ConditionalSampler:
        if self.model.condition != kind:
            raise ValueError(
                f"this model's condition is {self.model.condition}, not {kind}: call "
                f"sample_{_METHODS[self.model.condition]}, or choose a model of that kind"
            )
        return self

    def _task(
        self, c: Any, x: Any, n_samples: int, start: int, h: int | None, w: int | None
    ) -> Task:
        samples = sample_numbers(n_samples, start)
        source = self._read(c, n_samples, h, w)
        views = {}
        if source.view is not None and self.options.segmentation_save:
            views[f"_{source.kind}.png"] = lambda: np.asarray(source.view)
        if x is not None:
            picture = self._read_picture(x)
            views["_reconstruction.png"] = lambda: self._reconstruct(picture)
        make = partial(self._drawing, source, samples)
        cells = math.prod(source.shape)
        return Task(source, samples, cells, make, self._decode, views, inputs=paths_of(c, x))


_METHODS = {
    "segmentation": "segmentation",
    "depth": "depth",
    "coordinates": "coordinates",
    "class": "class",
    "scene_layout": "layout",
    "unconditional": "unconditional",
}


def _kind_name(task: Task) -> str:
    source = task.source
    if source.kind == "class" and source.values.shape[0] == 1:
        return f"class_{int(source.values[0, 0])}"
    return source.kind

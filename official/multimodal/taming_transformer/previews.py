"""What can be seen of a run while it is under way: pictures, a film and a bar."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import Callable, Iterator, Sequence

import numpy as np
from tqdm.auto import tqdm

from .animation import Writer, open_film, outlined
from .drawing import Drawing
from .image import write_png
from .options import SamplerOptions
from .store import PictureStore, Progress

PREVIEW_SHARE = 0.1
"""Part of the sampling time that previews may take where ``update_every`` is not given."""

MOST_PREVIEWS = 60
"""Previews of a run where ``update_every`` is not given, however quick they are."""

SAVE_EVERY = 10.0
"""Seconds between two savings of a run that is under way."""

Decode = Callable[[np.ndarray], np.ndarray]
"""From tokens (h, w) to a picture uint8 (H, W, 3)."""


class PreviewClock:
    """Decide after which cells a preview is made.

    Args:
        every: After this many cells; ``None`` is as often as ``PREVIEW_SHARE`` allows.
        total: Cells of the run.
        now: A clock in seconds.
    """

    def __init__(self, every: int | None, total: int, now: Callable[[], float] = time.perf_counter):
        self._every, self._now = every, now
        self._gap, self._next = -(-total // MOST_PREVIEWS), 0
        self._began, self._spent, self._last = now(), 0.0, 0.0

    def due(self, number: int) -> bool:
        """Tell whether a preview after cell ``number`` is due, at the cost of the latest one."""
        if self._every is not None:
            return number % self._every == 0
        sampling = self._now() - self._began - self._spent
        if number < self._next or self._spent + self._last > PREVIEW_SHARE * sampling:
            return False
        self._next = number + self._gap
        return True

    @contextmanager
    def preview(self) -> Iterator[None]:
        """Count the time of the block as a preview's."""
        began = self._now()
        yield
        self._last = self._now() - began
        self._spent += self._last


def draw_quietly(drawing: Drawing, progress: bool | None) -> np.ndarray:
    """Draw without files and return the tokens int32 (B, h, w)."""
    indices = drawing.fill
    with progress_bar(drawing.total, 0, progress) as bar:
        for step in drawing.steps():
            indices = step.indices
            bar.update()
    return indices


def draw_to_files(
    drawing: Drawing, store: PictureStore, options: SamplerOptions, decode: Decode
) -> tuple[Progress, np.ndarray]:
    """Draw, show and save as it goes; go on where the store says.

    However it ends (Ctrl-C too), the films play and what is drawn is saved.

    Returns:
        The whole run, and its pictures uint8 (B, H, W, 3).
    """
    state = store.progress
    clock = PreviewClock(options.update_every, drawing.total)
    with ExitStack() as stack:
        films = [store.path(f"_sampling.{ending}") for ending in options.films]
        writers = [open_film(path, options.fps) for path in films]
        for writer in writers:
            stack.enter_context(writer)
        show = _Shown(drawing, store, decode, writers, options.draw_window)
        with clock.preview():
            show.first()
        for number in _numbers_before(state, options.update_every):
            show.preview(number, drawing.partly(np.asarray(state.indices), number))
        bar = stack.enter_context(progress_bar(drawing.total, state.done, options.progress))
        state = _draw(drawing, store, state, clock, show, bar)
        pictures = np.stack([decode(codes) for codes in np.asarray(state.indices)])
        if drawing.total not in show.numbers:
            show.film(drawing.total, pictures[0])
    for path in films:
        store.add(path)
    return state, pictures


def _draw(
    drawing: Drawing,
    store: PictureStore,
    state: Progress,
    clock: PreviewClock,
    show: _Shown,
    bar: tqdm,
) -> Progress:
    indices, done, saved = state.indices, state.done, time.monotonic()
    try:
        for step in drawing.steps(indices, done):
            indices, done = step.indices, step.number
            bar.update()
            if clock.due(done):
                with clock.preview():
                    show.preview(done, indices)
            if time.monotonic() - saved > SAVE_EVERY:
                store.save(Progress(indices, done, tuple(show.numbers)))
                saved = time.monotonic()
    except BaseException:
        store.save(Progress(indices, done, tuple(show.numbers)))
        raise
    return Progress(drawing.fill if indices is None else indices, done, tuple(show.numbers))


def _numbers_before(state: Progress, every: int | None) -> list[int]:
    """Return after which cells there were previews, or would have been."""
    if state.indices is None:
        return []
    if every is not None:
        return list(range(every, state.done + 1, every))
    return [number for number in state.shown if 0 < number <= state.done]


class _Shown:
    """Previews of the first sample: files, and frames of the films."""

    def __init__(
        self,
        drawing: Drawing,
        store: PictureStore,
        decode: Decode,
        films: Sequence[Writer],
        draw_window: bool,
    ):
        self._drawing, self._store, self._decode = drawing, store, decode
        self._films, self._draw_window = films, draw_window
        self.numbers: list[int] = []

    def first(self) -> None:
        """Show what there is before the first cell."""
        self._write("_first_sample.png", self._drawing.fill, 0)

    def preview(self, number: int, indices: np.ndarray) -> None:
        """Show the tokens (B, h, w) after ``number`` cells."""
        self._write(f"_sample_{number}.png", indices, number)
        self.numbers.append(number)

    def film(self, number: int, picture: np.ndarray) -> None:
        """Add the picture after ``number`` cells to the films; first and last without window."""
        if self._draw_window and self._films and 0 < number < self._drawing.total:
            factor = picture.shape[0] // self._drawing.mask.shape[0]
            frame, cell = self._drawing.frame(number), self._drawing.cell(number)
            picture = outlined(picture, frame, cell, factor)
        for writer in self._films:
            writer.write(picture)

    def _write(self, ending: str, indices: np.ndarray, number: int) -> None:
        picture, path = self._decode(indices[0]), self._store.path(ending)
        write_png(path, picture)
        self._store.add(path)
        self.film(number, picture)


def progress_bar(total: int, done: int, progress: bool | None) -> tqdm:
    """Return a bar on stderr with rate and remaining time.

    Args:
        total: Cells in all.
        done: Cells drawn before.
        progress: ``None`` draws it where stderr is a terminal, or in a notebook.
    """
    disable = None if progress is None else not progress
    return tqdm(total=total, initial=done, unit="token", disable=disable)

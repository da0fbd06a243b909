"""A progress bar for downloads, where somebody is looking."""

from __future__ import annotations

from typing import Any, Callable, Optional

from tqdm.auto import tqdm

FileProgress = Callable[[str, int, Optional[int]], None]
"""Called with a file's label, its bytes so far, and its bytes in all (None where unknown)."""


def terminal_bar() -> FileProgress:
    """Return a function that draws one bar a file, on a terminal (stderr) or in a notebook."""
    bars: dict[str, Any] = {}

    def show(label: str, done: int, total: int | None) -> None:
        if label not in bars or done < bars[label].n:
            bars[label] = tqdm(
                desc=label, total=total, unit="B", unit_scale=True, disable=None, leave=True
            )
        bar = bars[label]
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show

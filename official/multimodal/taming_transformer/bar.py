"""A progress bar for downloads, where somebody is looking."""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional

from tqdm import tqdm

FileProgress = Callable[[str, int, Optional[int]], None]
"""Called with a file's label, its bytes so far, and its bytes in all (None where unknown)."""


def terminal_bar() -> FileProgress:
    """Return a progress function that draws one bar a file on stderr if that is a terminal."""
    bars: dict[str, Any] = {}

    def show(label: str, done: int, total: int | None) -> None:
        if label not in bars or done < bars[label].n:
            quiet = not sys.stderr.isatty()
            bars[label] = tqdm(
                desc=label, total=total, unit="B", unit_scale=True, disable=quiet, leave=True
            )
        bar = bars[label]
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show

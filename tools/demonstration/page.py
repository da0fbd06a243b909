"""What the demo ends in: one sheet of all pictures, and one page with the Python that made each."""

from __future__ import annotations

import html
import inspect
import textwrap
from pathlib import Path
from typing import Sequence, Tuple

from PIL import Image, ImageDraw, ImageFont

from .steps import Shown, Step

Done = Tuple[Step, Shown, float]  # a step, its pictures, its seconds

WIDTH, MARGIN, GAP, ROW = 1240, 40, 12, 256  # pixels of the sheet
INK, PAPER, PALE = (34, 40, 49), (250, 250, 247), (120, 128, 138)

STYLE = """
:root { color-scheme: light dark; --ink: #222831; --paper: #fafaf7; --pale: #78808a;
        --code: #f0efe9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e1; --paper: #16191d; --pale: #98a0aa; --code: #20242a; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 1080px; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin-bottom: .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem }
p, figcaption, small { color: var(--pale) } figure { margin: 0 }
.row { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-end }
img, video { max-width: 100%; height: auto; min-height: 128px; border-radius: 4px;
             image-rendering: auto; display: block }
pre { background: var(--code); padding: 1rem; border-radius: 6px; overflow-x: auto;
      font: 13px/1.5 ui-monospace, monospace }
"""


def contact_sheet(done: Sequence[Done]) -> Image.Image:
    """Lay out all still pictures under their titles, RGB, 1240 pixels wide."""
    rows = [(step.title, _fitted(_stills(shown))) for step, shown, _ in done]
    heights = [44 + row[0].height + 20 for _, row in rows]
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + sum(heights)), PAPER)
    draw = ImageDraw.Draw(page)
    top = MARGIN
    for (title, row), height in zip(rows, heights):
        draw.text((MARGIN, top + 6), title, INK, font=_font(22))
        left = MARGIN
        for picture in row:
            page.paste(picture, (left, top + 44))
            left += picture.width + GAP
        top += height
    return page


def page(done: Sequence[Done]) -> str:
    """Return the page as HTML; it names its pictures as neighbours."""
    parts = [_section(*one) for one in done]
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Taming transformers on MegEngine</title>\n<style>{STYLE}</style>\n"
        "<h1>Taming transformers on MegEngine</h1>\n"
        "<p>Made on this machine by the small models that ship; under each, its Python.</p>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _section(step: Step, shown: Shown, seconds: float) -> str:
    figures = "\n".join(_figure(name, path) for name, path in shown.items())
    body = inspect.getsource(step.run).split('."""\n', 1)[1].replace("  # fmt: skip", "")
    code = html.escape(textwrap.dedent(body).rstrip())
    return (
        f"<h2>{html.escape(step.title)} <small>{seconds:.0f} s</small></h2>\n"
        f'<div class="row">\n{figures}\n</div>\n<pre>{code}</pre>'
    )


def _figure(name: str, path: Path) -> str:
    file, caption = html.escape(path.name), html.escape(name)
    if path.suffix == ".mp4":
        shown = f'<video src="{file}" controls muted loop playsinline></video>'
    else:
        shown = f'<img src="{file}" alt="{caption}">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _stills(shown: Shown) -> list[Image.Image]:
    pictures = []
    for path in shown.values():
        if path.suffix != ".mp4":
            with Image.open(path) as file:
                pictures.append(file.convert("RGB"))
    return pictures


def _fitted(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Scale pictures to one height, such that they stand beside each other on the sheet."""
    room = WIDTH - 2 * MARGIN - GAP * (len(pictures) - 1)
    wide = sum(picture.width / picture.height for picture in pictures)
    height = round(min(room / wide, max(ROW, *(picture.height for picture in pictures))))
    size = [(round(p.width * height / p.height), height) for p in pictures]
    return [p.resize(s, Image.Resampling.LANCZOS) for p, s in zip(pictures, size)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

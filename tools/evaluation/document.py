"""A report as Markdown and as one self-contained HTML file, out of the same parts."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Sequence, Union

_STYLE = """
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
.wide, pre { overflow-x: auto; }
body { overflow-wrap: anywhere; }
th, td { overflow-wrap: normal; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; }
td + td { font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; image-rendering: auto; }
figcaption { color: #555; font-size: .9rem; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table: its header and its rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the report, with what it shows."""

    path: Path
    caption: str


Part = Union[Heading, Text, Code, Table, Picture]


def markdown(parts: Sequence[Part]) -> str:
    """Return the report as Markdown; pictures are named relative to its folder."""
    return "\n\n".join(_markdown_of(part) for part in parts) + "\n"


def _markdown_of(part: Part) -> str:
    if isinstance(part, Heading):
        return f"{'#' * part.level} {_plain(part.text)}"
    if isinstance(part, Code):
        return f"```sh\n{part.text}\n```"
    if isinstance(part, Picture):
        return f"![{_plain(part.caption)}]({part.path.name})\n\n{_plain(part.caption)}"
    if isinstance(part, Table):
        rows = [part.header, ["---"] * len(part.header), *part.rows]
        return "\n".join(f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows)
    return _plain(part.text)


def _plain(text: str) -> str:
    """Return text that Markdown leaves as it is: names of files may hold anything."""
    for letter in "\\`*[]<>|#":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def html(parts: Sequence[Part]) -> str:
    """Return the report as HTML with its pictures inside: nothing is loaded from elsewhere."""
    title = next(part.text for part in parts if isinstance(part, Heading))
    body = "\n".join(_html_of(part) for part in parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html_of(part: Part) -> str:
    if isinstance(part, Heading):
        return f"<h{part.level}>{escape(part.text)}</h{part.level}>"
    if isinstance(part, Code):
        return f"<pre><code>{escape(part.text)}</code></pre>"
    if isinstance(part, Picture):
        caption = escape(part.caption)
        return (
            f'<figure><img src="{data_uri(part.path.read_bytes())}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    if isinstance(part, Table):
        rows = "\n".join(
            "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in [("th", part.header), *(("td", row) for row in part.rows)]
        )
        return f'<div class="wide"><table>\n{rows}\n</table></div>'
    return f"<p>{escape(part.text)}</p>"


def data_uri(png: bytes) -> str:
    """Return PNG bytes as an address that holds them."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"

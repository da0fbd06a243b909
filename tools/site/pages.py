"""Markdown pages of the repository as HTML pages that link to each other and to copied files."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markdown2 import Markdown

from official.multimodal.taming_transformer.paths import replacing

# page of the site -> its Markdown file and its name in the list of pages; the first is the start
PAGES = {
    "index.html": ("README.md", "Start"),
    "zh-CN.html": ("README.zh-CN.md", "中文"),
    "how_it_works.html": ("docs/how_it_works.md", "How it works"),
    "coming_from.html": ("docs/coming_from.md", "Coming from ..."),
}
API = "api/official/multimodal/taming_transformer.html"
NOTEBOOK = "docs/quick_start.ipynb"
EXTRAS = ("fenced-code-blocks", "tables", "cuddled-lists", "code-friendly")
_ANCHOR = re.compile(r"[^\w\- ]")
_STYLE = """
body { margin: 0; color: #222; background: #fff; font: 16px/1.55 system-ui, sans-serif; }
nav { padding: .6rem 1rem; background: #f3f3f3; border-bottom: 1px solid #ddd; }
nav > * { margin-right: 1.2rem; }
main { max-width: 60rem; margin: auto; padding: 0 1rem 4rem; }
pre { padding: .7rem; overflow-x: auto; background: #f6f6f6; line-height: 1.4; }
code { font-size: .9em; overflow-wrap: anywhere; }
pre code { overflow-wrap: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { border: 1px solid #ccc; padding: .25rem .55rem; text-align: left; vertical-align: top; }
img { max-width: 100%; }
"""


@dataclass(frozen=True)
class Site:
    """Where the site is made from and to.

    Attributes:
        source: The repository.
        target: The folder of the site.
    """

    source: Path
    target: Path

    def write_pages(self) -> list[Path]:
        """Write every page with the files that it links to; return the pages.

        Raises:
            FileNotFoundError: A page links to a file that is not there; the message names both.
        """
        return [self._write(page, *about) for page, about in PAGES.items()]

    def _write(self, page: str, file: str, title: str) -> Path:
        origin = self.source / file
        text = origin.read_text(encoding="utf-8")
        body = str(Markdown(extras=list(EXTRAS)).convert(text))
        body = _with_anchors(body)
        body = re.sub(r"<table>.*?</table>", r'<div class="wide">\g<0></div>', body, flags=re.S)
        body = re.sub(
            r'(<(?:a|img)\b[^>]*?\b(?:href|src)=")([^"]*)(")',
            lambda found: found[1] + self._moved(found[2], origin) + found[3],
            body,
        )
        path = self.target / page
        with replacing(path) as temporary:
            temporary.write_text(_whole(title, self._list(page), body), encoding="utf-8")
        return path

    def _list(self, here: str) -> str:
        links = {name: title for name, (_, title) in PAGES.items()}
        links[API] = "API reference"
        links[self._moved(NOTEBOOK, self.source / "a page")] = "Quick start (notebook)"
        return " ".join(
            f"<strong>{escape(title)}</strong>"
            if name == here
            else f'<a href="{name}">{escape(title)}</a>'
            for name, title in links.items()
        )

    def _moved(self, link: str, origin: Path) -> str:
        """Return a link of a page as the site has it; files of the repository are copied."""
        if re.match(r"[a-z]+:|#", link):
            return link
        name, hash_, anchor = link.partition("#")
        wanted = (origin.parent / name).resolve()
        if not wanted.exists():
            raise FileNotFoundError(f"{origin.name} links to {link}, which is not there")
        inside = wanted.relative_to(self.source.resolve()).as_posix()
        for page, (file, _) in PAGES.items():
            if file == inside:
                return page + hash_ + anchor
        if wanted.is_dir():
            wanted, inside = wanted / "README.md", f"{inside}/README.md"
        copy = self.target / "files" / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wanted, copy)
        return f"files/{inside}{hash_}{anchor}"


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return _ANCHOR.sub("", heading.strip().lower()).replace(" ", "-")


def _with_anchors(body: str) -> str:
    """Give headings the anchors that GitHub gives them, so that one link serves both."""

    def heading(found: re.Match[str]) -> str:
        plain = re.sub(r"<[^>]+>", "", found[2])
        return f'<h{found[1]} id="{escape(anchor_of(plain))}">{found[2]}</h{found[1]}>'

    return re.sub(r"<h([1-6])[^>]*>(.*?)</h\1>", heading, body, flags=re.S)


def _whole(title: str, links: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<nav>{links}</nav>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )

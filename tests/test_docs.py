"""The pages and the site: every block runs, every link leads somewhere, every name is told."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from inspect import signature
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from official.multimodal import taming_transformer
from official.multimodal.taming_transformer.registry import MODELS
from tests.readme_stand_ins import PROMISE
from tools import docs
from tools.site.pages import API, PAGES, anchor_of

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted((ROOT / "docs").glob("*.md"))
MARKDOWN = [
    *(path for path in ROOT.glob("*.md")),
    *OURS,
    *(ROOT / "official").rglob("*.md"),
    *(ROOT / "tools").rglob("*.md"),
    *(ROOT / "assets").rglob("*.md"),
]
BLOCKS = [
    (path.stem, number, language, block)
    for path in OURS
    for number, (language, block) in enumerate(
        re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.S | re.M)
    )
]
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.M)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the inputs that the pages name."""
    rows, columns = np.mgrid[:32, :32]
    photo = np.stack([rows * 7, columns * 5, (rows + columns) * 3], axis=-1).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    labels = np.kron(np.arange(6).reshape(2, 3) * 30, np.ones((16, 16))).astype(np.uint8)
    for name in ("segmentation.png", "map.png"):
        Image.fromarray(labels).save(tmp_path / name)
    Image.fromarray((rows * 900 + columns).astype(np.uint16)).save(tmp_path / "depth.png")
    return tmp_path


@pytest.mark.parametrize("language", ["python"])
def test_blocks_are_of_known_languages(language: str) -> None:
    assert {found for _, _, found, _ in BLOCKS} == {language}
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize(("page", "number", "language", "block"), BLOCKS)
def test_blocks_run_and_give_what_they_promise(
    page: str, number: int, language: str, block: str, folder: Path
) -> None:
    (folder / "block.py").write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.page_blocks", "block.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    *printed, last = done.stdout.splitlines()
    assert printed == PRINTED.findall(block)
    given = json.loads(last)
    promised = PROMISE.findall(block)
    assert [found[:2] for found in given] == [list(said[:2]) for said in promised]
    for (_, _, shape), found in zip(promised, given):
        sides = [side.strip() for side in shape.split(",") if side.strip()]
        assert len(sides) == len(found[2])
        assert all(int(s) == side for s, side in zip(sides, found[2]) if s.isdigit())


COMMANDS = [
    line
    for path in OURS
    for line in re.findall(r"`(sh tools/run\.sh [^`]+)`", path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_commands_exist_with_their_options(line: str, monkeypatch, capsys) -> None:
    tool, *arguments = shlex.split(line)[2:]
    name = {"web": "web_demo"}.get(tool, tool)
    main = import_module(f"tools.{name}").main
    command = [arguments[0]] if arguments and tool in ("generate", "evaluate", "weights") else []
    asked = [*command, "--help"]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *asked])
    with pytest.raises(SystemExit) as ended:
        main(asked) if signature(main).parameters else main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in (word for word in arguments if word.startswith("--")):
        assert re.search(rf"{option}\b", text), f"{tool} has no {option}"
    for model in re.findall(r"--model (\w+)", line):
        assert model == "NAME" or model in MODELS


@pytest.mark.parametrize("path", MARKDOWN, ids=[str(p.relative_to(ROOT)) for p in MARKDOWN])
def test_relative_links_lead_somewhere(path: Path) -> None:
    text = without_code(path.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path if not name else path.parent / unquote(name)
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {anchor_of(heading) for heading in headings}, f"{path.name}: {link}"


def test_every_figure_has_words_and_a_command() -> None:
    from tools.figures import NAMES

    text = (ROOT / "docs" / "how_it_works.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(figures/(\w+)\.png\)", text)
    assert sorted(name for _, name in shown) == sorted(NAMES)
    assert "`sh tools/run.sh figures`" in text
    drawn = {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    assert drawn == {f"{name}.png" for name in NAMES}


def test_pages_name_what_exists() -> None:
    for path in OURS:
        text = path.read_text(encoding="utf-8")
        new = re.sub(r"\| `[^|]*\|", "|", text)  # what is called elsewhere stands on the left
        named = set(re.findall(r"\b(?:vqgan|scenes|dalle)_\w+\b|\b\w+_transformer\b", new))
        assert named - {"taming_transformer"} <= set(MODELS), path.name


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes) -> None:
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if found.get("href") is not None and tag == "a":
            self.links.append(found["href"])
        if found.get("src") is not None:
            self.links.append(found["src"])
            self.loaded.append(found["src"])
        if tag == "link":
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built without a network."""
    root = tmp_path_factory.mktemp("site") / "site"
    offline = (
        "import socket\nsocket.socket.connect = None\nimport sys\nfrom tools.docs import main\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{offline}sys.exit(main(['--root', {str(root)!r}]))"],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == f"{root / 'index.html'}\n"
    return root


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if "files" not in path.parts}
    assert len(pages) > len(PAGES) + 50
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"https?:|mailto:|data:", link):
                continue
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            known = pages.get(target)
            if not target.exists() or (anchor and known and anchor not in known.anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, broken[:10]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not [link for link in Page(path).loaded if re.match(r"(https?:)?//", link)], path


def test_every_public_name_is_in_the_reference_with_its_source(site: Path) -> None:
    text = (site / API).read_text(encoding="utf-8")
    page = Page(site / API)
    for name in taming_transformer.__all__:
        assert name in page.anchors
        section = text[text.index(f'<section id="{name}">') :]
        section = section[: section.index("</section>")]
        value = getattr(taming_transformer, name)
        assert "View Source" in section, name
        first = inspect.getdoc(value).split()[0].strip("`")
        assert first in re.sub(r"<[^>]+>", " ", section), name
    modules = {path.stem for path in (site / API).with_suffix("").glob("*.html")}
    package = Path(taming_transformer.__file__).parent
    assert modules == {path.stem for path in package.glob("*.py")} - {"__init__"}


DEFERS = (
    r"[Aa]rguments and errors are those of the call|[Aa]rgs and errors are those|[Aa]s (for|in)"
)
SHAPE = r"\((B|n|H|h|height)\b[^)]*\)"


def public_functions() -> list[tuple[str, object]]:
    found = []
    for name in taming_transformer.__all__:
        value = getattr(taming_transformer, name)
        if not inspect.isclass(value):
            found.append((name, value))
            continue
        for method, function in inspect.getmembers(value, inspect.isfunction):
            if method[0] == "_" and method != "__call__":
                continue
            if function.__module__.startswith("official"):
                found.append((f"{name}.{method}", function))
    return found


@pytest.mark.parametrize(
    ("name", "function"), public_functions(), ids=lambda v: v if isinstance(v, str) else "code"
)
def test_public_functions_tell_their_arguments_and_errors(name: str, function) -> None:
    owner = getattr(taming_transformer, name.split(".")[0])
    text = " ".join((inspect.getdoc(function) or inspect.getdoc(owner) or "").split())
    arguments = [a for a in inspect.signature(function).parameters if a not in ("self", "kw")]
    untold = [a for a in arguments if not re.search(rf"\b{a}\b", text)]
    assert not untold or re.search(f"{DEFERS}|{SHAPE}", text) or len(untold) == 1, untold
    source = inspect.getsource(function)
    if re.search(r"^\s+raise \w+Error", source, re.M):
        assert "Raises" in text or re.search(DEFERS, text), name


def test_a_broken_link_is_an_error_with_its_page(tmp_path: Path, monkeypatch, capsys) -> None:
    from tools.site import pages

    (tmp_path / "README.md").write_text("[x](none.md)")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "quick_start.ipynb").write_text("{}")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "PAGES", {"index.html": ("README.md", "Start")})
    assert docs.main(["--root", str(tmp_path / "out")]) == 1
    assert "README.md links to none.md, which is not there" in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert docs.main(["--root", str(tmp_path)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_no_page_loses_the_underscores_of_a_name(site: Path) -> None:
    for page in site.glob("*.html"):
        assert not re.search(r"\w<em>\w+</em>\w", page.read_text(encoding="utf-8")), page.name

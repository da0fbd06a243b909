#!/usr/bin/env python3
"""Build the static site: the API reference out of the docstrings, and all pages.

    sh tools/run.sh docs                    to outputs/docs; open outputs/docs/index.html
    sh tools/run.sh docs --root FOLDER

The API reference is pdoc's; nothing is loaded from the network, neither here nor by the pages.

Exit status: 0 done; 1 a link of a page leads nowhere, or the folder cannot be used; 2 wrong call.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import shutil
import sys
import warnings
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PACKAGE = "official.multimodal.taming_transformer"
MARK = ".made-by-docs"


def build(root: Path) -> Path:
    """Build the site in a folder and return its first page.

    A folder that an earlier call has made is emptied first; any other must be empty.

    Raises:
        FileNotFoundError: A page links to a file that is not there.
        OSError: The folder cannot be written.
        ValueError: It holds something else.
    """
    from tools.site.pages import Site

    if root.exists() and any(root.iterdir()):
        if not (root / MARK).is_file():
            raise ValueError(f"{str(root)!r} holds other files: choose another --root")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()
    pages = Site(ROOT, root).write_pages()
    _write_reference(root / "api")
    return pages[0]


def _write_reference(folder: Path) -> None:
    import pdoc
    import pdoc.render

    from official.multimodal import taming_transformer

    # pdoc hides what equals a variable of the environment; the heap's settings have done their work
    os.environ.pop("GLIBC_TUNABLES", None)
    pdoc.render.configure(
        docformat="google",
        template_directory=ROOT / "tools" / "site" / "templates",
        footer_text=f"taming_transformer {taming_transformer.__version__}",
    )
    modules = sorted(info.name for info in pkgutil.iter_modules(taming_transformer.__path__))
    with warnings.catch_warnings():  # of annotations in packages that ours build on
        warnings.filterwarnings("ignore", "Error parsing type annotation", UserWarning)
        pdoc.pdoc(PACKAGE, *(f"{PACKAGE}.{name}" for name in modules), output_directory=folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", "-o", type=Path, default=ROOT / "outputs" / "docs",
                        metavar="FOLDER", help="where to (default: outputs/docs)")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        print(build(options.root))
    except ModuleNotFoundError as error:
        print(f"error: {error}: call `sh tools/run.sh docs`, or `pip install -r "
              "requirements-docs.txt`", file=sys.stderr)  # fmt: skip
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

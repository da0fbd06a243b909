#!/usr/bin/env python3
"""Run the quick-start notebook and keep what it shows.

    python tools/notebook.py            run docs/quick_start.ipynb and write it with its pictures
    python tools/notebook.py --check    run it and write nothing

It needs the packages of requirements-dev.txt and the weights of the small models.

Exit status: 0 done; 1 a cell failed (its error is shown).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from official.multimodal.taming_transformer.paths import replacing  # noqa: E402

NOTEBOOK = ROOT / "docs" / "quick_start.ipynb"
SECONDS = 600
"""Longest time of one cell."""

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, before: str = "") -> Any:
    """Run a notebook in its folder and return it with its outputs.

    Args:
        path: Of the notebook.
        before: Code that runs before the first cell and is not kept.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=folder).execute()
    if before:
        del notebook.cells[0]
    return notebook


def tidied(notebook: Any) -> Any:
    """Return a notebook without times, bars and the words of its kernel."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [one for one in cell.outputs if _is_kept(one)]
            for one in cell.outputs:
                one.get("data", {}).pop("image/jpeg", None)  # the PNG is there too
                if "execution_count" in one:
                    one.execution_count = None
        cell.id = f"cell-{number:02}"
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _is_kept(output: Any) -> bool:
    bar = WIDGET in output.get("data", {})
    return not bar and output.get("name") != "stderr"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="notebook", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    import nbformat
    from nbclient.exceptions import CellExecutionError

    try:
        notebook = tidied(execute(NOTEBOOK))
    except CellExecutionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.check:
        with replacing(NOTEBOOK) as temporary:
            nbformat.write(notebook, temporary)
        print(NOTEBOOK)
    return 0


if __name__ == "__main__":
    sys.exit(main())

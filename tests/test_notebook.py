"""The quick-start notebook runs, and what is stored in it is what it shows."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from official.multimodal.taming_transformer.registry import MODELS
from tools.notebook import NOTEBOOK, execute, tidied

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "assets" / "weights"
TEXT = NOTEBOOK.read_text(encoding="utf-8")
NAMED = sorted(name for name in MODELS if re.search(rf"\b{name}\b", TEXT))
# Where no weights ship, the networks' own first values do: sizes and calls are the same.
UNTRAINED = """
import sys
sys.path.insert(0, "..")
from official.multimodal import taming_transformer
def untrained(builder):
    return lambda pretrained=False: builder()
for name in {names}:
    setattr(taming_transformer, name, untrained(getattr(taming_transformer, name)))
"""


def stored(notebook) -> list[list[str]]:
    """Return the kinds of output of every cell of code."""
    return [
        sorted(kind for output in cell["outputs"] for kind in output.get("data", {"text": ""}))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


@pytest.fixture(scope="module")
def executed():
    missing = [name for name in NAMED if not (WEIGHTS / f"{name}.safetensors").is_file()]
    return tidied(execute(NOTEBOOK, UNTRAINED.format(names=missing) if missing else ""))


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(executed):
    shown = stored(executed)
    assert sum("image/png" in kinds for kinds in shown) >= 7
    assert any("image/gif" in kinds for kinds in shown)
    assert all("application/vnd.jupyter.widget-view+json" not in kinds for kinds in shown)


@pytest.mark.slow
def test_pictures_are_stored_where_it_shows_some(executed):
    notebook = json.loads(TEXT)
    assert stored(notebook) == stored(executed), "run python tools/notebook.py"
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                data = base64.b64decode(output["data"]["image/png"])
                with Image.open(io.BytesIO(data)) as picture:
                    assert min(picture.size) >= 128


def test_it_calls_every_small_model_and_holds_no_path_of_a_machine():
    assert sorted(name for name in MODELS if name.startswith("scenes_")) == NAMED
    assert str(ROOT) not in TEXT
    assert "/home/" not in TEXT
    for cell in json.loads(TEXT)["cells"]:
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}

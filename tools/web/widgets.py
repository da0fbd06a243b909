"""The two components of the page's own: the board (input) and the view (output)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).resolve().parent
CSS = HERE / "style.css"


def board(value: dict[str, Any], name: str) -> Any:
    """Return a board: it shows, uploads and paints what goes in (board.js, on paint.js)."""
    return _component("board", value, f"{name}-board", "paint.js", "board.js")


def view(name: str) -> Any:
    """Return a view: it shows a run and what it has made (view.js)."""
    return _component("view", {"state": "idle"}, f"{name}-view", "view.js")


def _component(kind: str, value: dict[str, Any], name: str, *scripts: str) -> Any:
    return gr.HTML(
        value,
        html_template=f'<div class="{kind}"></div>',
        js_on_load="\n".join((HERE / script).read_text(encoding="utf-8") for script in scripts),
        apply_default_css=False,
        elem_id=name,
    )

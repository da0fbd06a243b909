"""The page: a tab for each task, made of the same parts."""

from __future__ import annotations

from typing import Any, Callable

import gradio as gr

from tools.web import tabs
from tools.web.desk import Desk

TITLE = "Taming transformers"
INTRO = (
    "Pictures as words: a VQGAN turns a picture into a small grid of codes, "
    "a transformer writes new grids, one code after the other."
)
TABS: dict[str, Callable[[Desk], None]] = {
    "Reconstruct": tabs.reconstruct,
    "Segmentation": tabs.segmentation,
    "Depth": tabs.depth,
    "Class": tabs.of_class,
    "Unconditional": tabs.unconditional,
    "Complete": tabs.complete,
}


def build_page(desk: Desk) -> Any:
    """Return the page, not served yet."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=None) as page:
        gr.Markdown(f"# {TITLE}")
        gr.Markdown(INTRO, elem_classes=["intro"])
        with gr.Tabs():
            for title, fill in TABS.items():
                with gr.Tab(title):
                    fill(desk)
        page.unload(_forget(desk))
    return page


def theme() -> Any:
    """Return the page's look: system fonts, so that nothing is fetched from anywhere."""
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
        radius_size="md",
    )


def _forget(desk: Desk) -> Callable[[gr.Request], None]:
    def leave(request: gr.Request) -> None:
        desk.engine.cancel(str(request.session_hash))

    return leave

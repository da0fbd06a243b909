"""The page: a tab for each task, made of the same parts."""

from __future__ import annotations

from typing import Any, Callable

import gradio as gr

from tools.web import tabs
from tools.web.desk import Desk
from tools.web.widgets import CSS

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
    ).set(  # darker than gradio's own: text has a contrast of 4.5 at least
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        color_accent="*primary_700",
        slider_color="*primary_600",
    )


def launch(
    page: Any, host: str, port: int, waiting: int, gate: Any, open_browser: bool = False
) -> str:
    """Serve a page in threads of its own and return its address.

    Args:
        page: Of ``build_page``.
        host: Address to listen at.
        port: Its port.
        waiting: Runs that may wait; each holds a thread of the server.
        gate: Middleware before gradio.
        open_browser: Show the page in the browser.

    Raises:
        OSError: The port cannot be used.
    """
    page.queue(max_size=4 * waiting + 64, api_open=False, default_concurrency_limit=4)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
        allowed_paths=[],
        max_file_size=1,  # nothing is uploaded as a file
        enable_monitoring=False,
        max_threads=waiting + 32,
        theme=theme(),
        css_paths=CSS,
        app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return str(address)


def _forget(desk: Desk) -> Callable[[gr.Request], None]:
    def leave(request: gr.Request) -> None:
        desk.engine.cancel(str(request.session_hash))

    return leave

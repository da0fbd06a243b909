#!/usr/bin/env python3
"""The demo as a page in the browser.

    sh tools/run.sh web                             on http://127.0.0.1:7860
    sh tools/run.sh web --port 8000 --open          another port; opens the browser
    sh tools/run.sh web --weights vqgan_imagenet_f16_1024=last.ckpt
    sh tools/run.sh web --host 0.0.0.0              for the whole network: no password, no HTTPS

The page offers the models whose weights are here: the small ones that ship, those in the cache
(`sh tools/run.sh weights list`), and files named by --weights. It asks no other server anything.
Ctrl-C ends it.

Exit status: 0 ended; 1 the port or a file cannot be used; 2 wrong call; 3 the page's packages are
missing (they need Python 3.10).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Said before gradio and megengine are imported: nothing is sent or fetched, and nothing of the
# page's own requests to itself goes through a proxy.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TAMING_OFFLINE": "1",
}
NO_PACKAGES = 3


def main(arguments: Sequence[str] | None = None, build: Callable[[str], Any] | None = None) -> int:
    """Serve the page until it is stopped, and return the exit status.

    Args:
        arguments: The command line; ``None`` is the program's own.
        build: From a model's name to the filled network; ``None`` asks the zoo.
    """
    os.environ.update(QUIET)
    local = "127.0.0.1,localhost,::1"
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), local]))
    options = _parser().parse_args(arguments)
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"error: {error}: the page needs Python 3.10 and requirements-demo.txt "
              "(PYTHON=python3.10 sh tools/run.sh web sets both up)", file=sys.stderr)  # fmt: skip
        return NO_PACKAGES
    with tempfile.TemporaryDirectory(prefix="taming-web-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            return _serve(options, build)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sh tools/run.sh web",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="(default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open the browser")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        type=_weights,
        metavar="NAME=FILE",
        help="offer this checkpoint as the model NAME; may be repeated",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        default=ROOT / "assets" / "examples",
        metavar="FOLDER",
        help="scene_map.png, scene_depth.png and scene_photo.png (default: assets/examples)",
    )
    number: dict[str, Any] = {"type": _positive, "metavar": "N"}
    parser.add_argument(
        "--waiting", default=8, help="runs that may wait (default: %(default)s)", **number
    )
    parser.add_argument(
        "--upload-mb", default=8, help="largest file, in MB (default: %(default)s)", **number
    )
    parser.add_argument(
        "--megapixels",
        default=24,
        help="largest uploaded picture, in megapixels (default: %(default)s)",
        **number,
    )
    return parser


def _weights(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE")
    return name, Path(file)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number >= 1")
    return int(text)


def _serve(options: argparse.Namespace, build: Callable[[str], Any] | None) -> int:
    # here, since megengine works in the thread that imports it, and that is this one
    from starlette.middleware import Middleware

    from official.multimodal.taming_transformer import list_models, tune_cpu
    from tools.web.desk import Desk
    from tools.web.engine import Engine
    from tools.web.examples import Examples
    from tools.web.gate import Gate
    from tools.web.page import build_page, launch
    from tools.web.results import Results
    from tools.web.shelf import Shelf
    from tools.web.uploads import Limits

    files = dict(options.weights)
    known = {row.name for row in list_models()}
    for name, path in files.items():
        if name not in known:
            raise ValueError(f"there is no model {name!r}; `weights list` shows them")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    tune_cpu()
    limits = Limits(options.upload_mb * 2**20, options.megapixels * 10**6)
    engine, results = Engine(options.waiting), Results()
    examples = Examples(options.examples, limits)
    page = build_page(Desk(Shelf(files, build), engine, results, limits, examples))
    gate = Middleware(Gate, results=results, most=limits.body_bytes)
    address = launch(page, options.host, options.port, options.waiting, gate, options.open)
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
    with _stopped_by_signals(engine.stop):
        engine.serve()
    page.close(verbose=False)
    return 0


@contextlib.contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at Ctrl-C or a request to terminate, rather than raise somewhere."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: stop()) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""List, fetch, check and remove the published weights of the models.

    python tools/weights.py list
    python tools/weights.py fetch vqgan_imagenet_f16_16384
    python tools/weights.py path vqgan_imagenet_f16_16384     # where a file got by hand goes
    python tools/weights.py add vqgan_imagenet_f16_16384 last.ckpt

Exit status: 0 all went well; 1 something was not to be had, damaged or of another model;
2 wrong arguments, such as an unknown model; 130 interrupted (a later fetch goes on from there).
Environment: TAMING_CACHE (folder of the cache), TAMING_MIRROR (a folder or an address that has
the files), TAMING_OFFLINE=1 (ask no server).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

os.environ.setdefault("MGE_DEFAULT_DEVICE", "cpu0")  # nothing is computed here
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from official.multimodal.taming_transformer.cache import (
    bundled_file,
    cache_dir,
    check_shapes,
    native_file,
    read_record,
    remove_weights,
    verify_weights,
)
from official.multimodal.taming_transformer.files import human
from official.multimodal.taming_transformer.origins import names_by_hand
from official.multimodal.taming_transformer.partial import shown
from official.multimodal.taming_transformer.weights import add_weights, find_weights
from official.multimodal.taming_transformer.zoo import MODELS, expected_shapes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted; fetching again goes on from what is there", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    listing = command("list", _list, "show every model and whether its weights are here")
    listing.add_argument("--json", action="store_true", help="for programs")
    fetch = command("fetch", _fetch, "get the weights of models into the cache")
    fetch.add_argument("names", metavar="NAME", nargs="+", type=_model)
    fetch.add_argument("--offline", action="store_true", help="ask no server")
    verify = command("verify", _verify, "read the cached weights and compare their SHA-256")
    verify.add_argument("names", metavar="NAME", nargs="*", type=_model, help="default: all")
    remove = command("remove", _remove, "delete cached weights")
    remove.add_argument("names", metavar="NAME", nargs="+", type=_model)
    remove.add_argument(
        "--forget", action="store_true", help="accept that a source has changed since first use"
    )
    path = command("path", _path, "say where a model's weights are, or where to put them")
    path.add_argument("name", metavar="NAME", type=_model)
    add = command("add", _add, "convert a checkpoint of yours into the cache")
    add.add_argument("name", metavar="NAME", type=_model)
    add.add_argument("files", metavar="FILE", nargs="+", type=Path, help="dVAE: two, or a folder")
    add.add_argument("--part", default="", help="first_stage, cond_stage or transformer")
    return parser


def _model(name: str) -> str:
    if name not in MODELS:
        raise argparse.ArgumentTypeError(
            f"there is no model {name}; models are {', '.join(MODELS)}"
        )
    return name


def _candidates() -> dict[str, Any]:
    return {name: expected_shapes(name) for name in MODELS}


def _state(name: str) -> tuple[str, Path | None]:
    """Return in a word whether a model's weights are here, and the file."""
    for word, file in (("shipped", bundled_file(name)), ("cached", native_file(name))):
        if file.is_file():
            return word, file
    return "-", None


def _facts(name: str) -> dict[str, Any]:
    state, file = _state(name)
    record = read_record(name) if state == "cached" else {}
    return {
        "name": name,
        "state": "absent" if file is None else state,
        "file": str(file) if file else None,
        "size": file.stat().st_size if file else None,
        "sha256": record.get("file", {}).get("sha256"),
        "from": record.get("source"),
        "task": MODELS[name].task,
        "sources": [[shown(f.url) for f in s.files] for s in MODELS[name].sources],
        "licence": MODELS[name].licence,
    }


def _list(options: argparse.Namespace) -> int:
    rows = [_facts(name) for name in MODELS]
    if options.json:
        print(json.dumps({"cache": str(cache_dir()), "models": rows}, indent=1))
        return 0
    print(f"cache: {cache_dir()}")
    for row in rows:
        state = "-" if row["file"] is None else f"{row['state']} {human(row['size'])}"
        count = f"{len(row['sources'])} source{'s' if len(row['sources']) != 1 else ''}"
        print(f"{row['name']:42} {state:18} {count}; {row['licence']}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    failed = 0
    for name in options.names:
        try:
            path = find_weights(
                name,
                expected_shapes(name),
                offline=True if options.offline else None,
                candidates=_candidates,
            )
            print(f"{name}: {path}", flush=True)
        except (ValueError, RuntimeError, OSError) as error:
            failed = 1
            print(f"error: {error}", file=sys.stderr)
    return failed


def _verify(options: argparse.Namespace) -> int:
    names = options.names or [name for name in MODELS if _state(name)[1] is not None]
    failed = 0
    for name in names:
        try:
            state, file = _state(name)
            if state == "shipped" and file is not None:
                check_shapes(file, expected_shapes(name))
                print(f"{name}: complete, part of this checkout")
            else:
                print(f"{name}: intact, SHA-256 {verify_weights(name)}", flush=True)
        except (ValueError, OSError) as error:
            failed = 1
            print(f"error: {name}: {error}", file=sys.stderr)
    if not names:
        print(f"nothing to verify in {cache_dir()}")
    return failed


def _remove(options: argparse.Namespace) -> int:
    for name in options.names:
        existed = remove_weights(name, forget=options.forget)
        print(f"{name}: {'removed' if existed else 'was not cached'}")
    return 0


def _path(options: argparse.Namespace) -> int:
    name = options.name
    state, file = _state(name)
    print(file or native_file(name))
    print(f"  {'is ' + state if file else 'is not there yet'}")
    print(f"A checkpoint that you have downloaded by hand goes into\n  {cache_dir()}")
    print("under one of these names; it is converted when the model is first asked for:")
    for known in names_by_hand(name, MODELS[name].sources):
        print(f"  {known}")
    print(f"or is converted at once by\n  python tools/weights.py add {name} FILE")
    print("It can be downloaded from" if MODELS[name].sources else "No address is known.")
    for source in MODELS[name].sources:
        for part in source.files:
            print(f"  {shown(part.url)}{f'  ({part.note})' if part.note else ''}")
    return 0


def _add(options: argparse.Namespace) -> int:
    path = add_weights(
        options.name,
        expected_shapes(options.name),
        options.files,
        part=options.part,
        candidates=_candidates,
    )
    print(f"{options.name}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

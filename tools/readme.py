"""Write the tables of the READMEs, or check that they are up to date.

    python tools/readme.py            write them
    python tools/readme.py --check    exit 1 and name the file if one is out of date

The table of models comes from the zoo, that of parity from benchmarks/parity.json
(`python tools/parity.py --full --json > benchmarks/parity.json`), that of speed from
benchmarks/compare.json (`python benchmarks/compare.py --json benchmarks/compare.json`), that of
whole runs from benchmarks/full.json (the same with `--quick --full`), and that of the first
port from benchmarks/first_port.json
(`python benchmarks/first_port.py --port FOLDER --json benchmarks/first_port.json`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Mapping
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

READMES = ("README.md", "README.zh-CN.md")
PARITY = ROOT / "benchmarks" / "parity.json"
SPEED = ROOT / "benchmarks" / "compare.json"
FULL = ROOT / "benchmarks" / "full.json"
FIRST_PORT = ROOT / "benchmarks" / "first_port.json"


def row(*cells: object) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def models() -> str:
    """Return the table of the zoo."""
    from official.multimodal.taming_transformer.registry import list_models

    header = "builder", "task", "size", "published FID", "T / top-k / top-p", "weights"
    lines = [row(*header, "licence"), row(*["---"] * 7)]
    for model in list_models():
        s = model.sampling
        settings = f"{s.temperature:g}/{s.top_k or 'all'}/{s.top_p:g}" if s else ""
        size = f"{model.parameters / 1e6:,.0f} M"
        task = model.task.replace("_", " ")
        places = [urlsplit(source.url).hostname for source in model.sources]
        more = f" +{len(places) - 1}" if len(places) > 1 else ""
        weights = f"{places[0]}{more}" if places else "here"
        fid = model.fid.replace(", reconstruction)", ")")  # the task says so
        cells = (task, size, fid, settings, weights, _licence(model.licence))
        lines.append(row(f"`{model.name}`", *cells))
    return "\n".join(lines)


def _licence(note: str) -> str:
    """Return what is known of a licence in three words at most."""
    return "none stated" if "states no licence" in note else re.split(r",| \(", note)[0]


def parity() -> str:
    """Return the table of the recorded comparison with the original."""
    lines = [row("model", "stage", "shape", "largest error"), row(*["---"] * 4)]
    for entry in json.loads(PARITY.read_text(encoding="utf-8")):
        shape = " x ".join(str(side) for side in entry["shape"])
        lines.append(row(entry["model"], entry["stage"], shape, _error(entry)))
    return "\n".join(lines)


def _error(entry: Mapping[str, Any]) -> str:
    if entry.get("ties") is None:
        return f"{entry['error']:.1e}"
    ties = f", {entry['ties']} ties" if entry["ties"] else ""
    return f"equal{ties}" if entry["error"] == 0 else f"{entry['error']:.2%} differ{ties}"


def speed() -> str:
    """Return the table of the recorded benchmark."""
    lines = [row("case", "ours, s", "original, s", "ratio", "ours, MB", "original, MB")]
    lines.append(row(*["---"] * 6))
    for case in json.loads(SPEED.read_text(encoding="utf-8"))["cases"]:
        seconds = [f"{case[key]:.1f}" for key in ("ours_s", "original_s")]
        peaks = [f"{case[key]:.0f}" for key in ("ours_peak_mb", "original_peak_mb")]
        lines.append(row(f"`{case['case']}`", *seconds, f"{case['ratio']:.2f}", *peaks))
    return "\n".join(lines)


def whole() -> str:
    """Return the table of the recorded whole runs, and of ``--quick`` by turns with them."""
    names = "ours, s", "original, s", "ratio"
    header = *names, *(f"`--quick`: {name}" for name in names), "apart"
    lines = [row("case", *header), row(*["---"] * 8)]
    for case in json.loads(FULL.read_text(encoding="utf-8"))["cases"]:
        cells, ratios = [], []
        for way in ("", "quick_"):
            ours, original = case[way + "ours_s"], case[way + "original_s"]
            ratios.append(original / ours)
            cells += [f"{ours:.1f}", f"{original:.1f}", f"{ratios[-1]:.2f}"]
        name = f"`{case['case']}`" + (f", {case['cells']} cells" if "cells" in case else "")
        name += f", `--thin {case['thin']}`" if "thin" in case else ""
        lines.append(row(name, *cells, f"{round(100 * (ratios[1] / ratios[0] - 1)):+}%"))
    return "\n".join(lines)


def first_port() -> str:
    """Return the table of the recorded benchmark beside MegEngine/Models' port."""
    header = "case", "ours, s", "first port, s", "ratio", "ours, MB", "first port, MB"
    lines = [row(*header, "difference", "its samplers"), row(*["---"] * 8)]
    seconds = {"ours_s": ".1f", "first_port_s": ".1f", "ratio": ".1f"}
    forms = {**seconds, "ours_peak_mb": ".0f", "first_port_peak_mb": ".0f"}
    for case in json.loads(FIRST_PORT.read_text(encoding="utf-8"))["cases"]:
        cells = [
            "" if case[key] is None else format(case[key], form) for key, form in forms.items()
        ]
        cells.append(f"{max(case['agreement'].values()):.0e}" if case["agreement"] else "")
        cells.append(f"crashes {case['crash']}" if case["crash"] else "")
        lines.append(row(f"`{case['case']}`", *cells))
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "models": models,
    "parity": parity,
    "speed": speed,
    "whole": whole,
    "first port": first_port,
}


def updated(text: str) -> str:
    """Return a README with its tables made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(start)
        if found:
            text = before + start + table() + "\n" + end + rest.partition(end)[2]
    return text


def main() -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    stale = 0
    for name in READMES:
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        new = updated(text)
        if new == text:
            continue
        stale = 1
        if check:
            print(f"{name} is out of date: run python tools/readme.py", file=sys.stderr)
        else:
            path.write_text(new, encoding="utf-8")
            print(f"{name}: tables written")
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main())

"""Print how closely every network equals the PyTorch original: the table in the README.

python tools/parity.py                 small networks, against the recorded golden files
python tools/parity.py --full          full-size networks too, live (needs the reference
                                       environment: see TAMING_REFERENCE_PYTHON)
python tools/parity.py --json          the same as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
CLASSES = {"vq": "VQModel", "gumbel": "GumbelVQ", "dvae": "DVAE", "gpt": "GPT"}
HEADER = "| model | stage | shape | largest error / largest magnitude |\n| --- | --- | --- | --- |"


def small(each: bool) -> Iterator[tuple[str, Any]]:
    """Yield (model, row) of every small network against its golden file."""
    from tests.reference import golden, ours
    from tests.reference.cases import SMALL

    for name, case in SMALL.items():
        expected, facts = golden.load(name)
        model, weights = ours.build(case)
        if weights != facts["weights"]:
            raise SystemExit(f"{name}: the drawn weights are not those of the golden file")
        for row in ours.compare(case, model, expected):
            yield f"{name} (small)" if each else _label(case, row.stage), row


def _label(case: Any, stage: str) -> str:
    """Name the line that a stage of a small network belongs to."""
    if case.kind != "net2net":
        return f"{CLASSES[case.kind]}, small"
    if stage.startswith("condition") or stage == "logits":
        return f"Net2NetTransformer, small, {case.config['cond_stage']['kind']}"
    return "Net2NetTransformer, small, any condition"


def full(python: Path) -> Iterator[tuple[str, Any]]:
    """Yield (model, row) of the full-size networks, live, through this repository's converter."""
    from tests.reference import live, ours
    from tests.reference.cases import FULL

    for name, case in FULL.items():
        with tempfile.TemporaryDirectory() as folder:
            expected = live.ask(python, name, Path(folder))
            model = live.load_ours(name, Path(folder))
            for row in ours.compare(case, model, expected):
                yield name, row


def worst(rows: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return of every (model, stage) the row with the largest error, by model."""
    found: dict[str, dict[str, Any]] = {}
    for model, row in rows:
        stages = found.setdefault(model, {})
        if row.stage not in stages or row.error > stages[row.stage].error:
            stages[row.stage] = row
    return [(model, row) for model, stages in found.items() for row in stages.values()]


def _error(row: Any) -> str:
    if row.ties is None:
        return f"{row.error:.1e}"
    ties = f", {row.ties} ties" if row.ties else ""
    return f"equal{ties}" if row.error == 0 else f"{row.error:.2%} differ{ties}"


def markdown(rows: list[tuple[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        f"| {model} | {row.stage} | {' x '.join(map(str, row.shape))} | {_error(row)} |"
        for model, row in rows
    ]
    return "\n".join([HEADER, *lines])


def as_json(rows: list[tuple[str, Any]]) -> str:
    """Return the rows as JSON: a list of objects with the columns' names."""
    columns = ("stage", "shape", "error", "ties")
    found = [
        {"model": m, **{column: getattr(row, column) for column in columns}} for m, row in rows
    ]
    return json.dumps(found, indent=1)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare every network with the PyTorch original, stage by stage."
    )
    parser.add_argument(
        "--full", action="store_true", help="full-size networks too, live (minutes)"
    )
    parser.add_argument("--each", action="store_true", help="print every small network")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    default = os.environ.get("TAMING_REFERENCE_PYTHON") or ROOT / ".venv-ref" / "bin" / "python"
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(default),
        help="interpreter that has torch and the original (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print the table; return 0 where everything is within the tolerance, else 1."""
    options = _parse(arguments)
    if options.full and not options.python.is_file():
        print(f"{options.python} does not exist: name one with --python", file=sys.stderr)
        return 2
    os.environ.setdefault("MGE_DEFAULT_DEVICE", "cpu0")
    sys.path.insert(0, str(ROOT))
    from tests.reference.ours import TOLERANCE

    rows = worst(small(options.each))
    if options.full:
        rows += full(options.python)
    print(as_json(rows) if options.json else markdown(rows))
    return int(any(row.error > TOLERANCE for _, row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

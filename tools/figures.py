#!/usr/bin/env python3
"""Draw the figures of docs/how_it_works.md out of the small models' own numbers.

    sh tools/run.sh figures                   all of them, to docs/figures
    sh tools/run.sh figures window codebook   some of them
    sh tools/run.sh figures --root outputs/figures --untrained

Exit status: 0 done; 1 a file cannot be written or an example is missing; 2 wrong call; 4 no
weights are to be had.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from official.multimodal.taming_transformer.errors import WeightsUnavailableError  # noqa: E402
from official.multimodal.taming_transformer.runtime import tune_cpu  # noqa: E402
from tools.evaluation.limits import learn_limits  # noqa: E402

FAILED, NO_WEIGHTS = 1, 4
EXAMPLES = ROOT / "assets" / "examples"
NAMES = ("codes", "codebook", "maps", "window", "run", "attention", "filters")


def draw(names: Sequence[str], root: Path, examples: Path, untrained: bool) -> list[Path]:
    """Draw figures and return their files; raises as builders and readers do."""
    learn_limits()  # before matplotlib asks for them
    from tools.diagrams import codes, tokens, window
    from tools.diagrams.stock import Stock
    from tools.evaluation.plots import save

    drawers = {
        "codes": codes.picture_to_codes,
        "codebook": codes.codebook,
        "maps": codes.maps_to_codes,
        "window": window.positions,
        "run": window.run,
        "attention": tokens.attention,
        "filters": tokens.filters,
    }
    stock = Stock(examples, untrained)
    return [save(drawers[name](stock), root / f"{name}.png") for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"some of: {', '.join(NAMES)} (default: all)")  # fmt: skip
    parser.add_argument("--root", "-o", type=Path, default=ROOT / "docs" / "figures",
                        metavar="FOLDER", help="where they go (default: docs/figures)")  # fmt: skip
    parser.add_argument("--examples", type=Path, default=EXAMPLES, metavar="FOLDER",
                        help="the inputs (default: assets/examples)")  # fmt: skip
    parser.add_argument("--untrained", action="store_true", help="take the networks' first values "
                        "instead of weights: to try the command")  # fmt: skip
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no figure {unknown[0]!r}; figures are: {', '.join(NAMES)}")
    try:
        options.root.mkdir(parents=True, exist_ok=True)
        names = options.names or NAMES
        for path in draw(names, options.root, options.examples, options.untrained):
            print(path)
    except WeightsUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_WEIGHTS
    except (ValueError, RuntimeError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    tune_cpu()
    sys.exit(main())

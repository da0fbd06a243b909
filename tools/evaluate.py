#!/usr/bin/env python3
r"""Measure what first-stage models keep of pictures, and prepare pictures for FID tools.

    sh tools/run.sh evaluate report PHOTOS --model scenes_vqgan
    sh tools/run.sh evaluate report PHOTOS --model vqgan_imagenet_f16_1024 vqgan_gumbel_f8
    sh tools/run.sh evaluate export PHOTOS --size 256 --root exported
    sh tools/run.sh evaluate export PHOTOS --model scenes_vqgan --root exported
    sh tools/run.sh evaluate export SAMPLES --size 256 --deep --root exported
    sh tools/run.sh evaluate published

`report` writes report.md and report.html with plots: PSNR, SSIM, L1, use of the codebook, its
picture, best and worst reconstructions, of one model or of several. `export` writes any pictures,
photographs or samples, as torch-fidelity (folder of PNG) and ADM's evaluator (npz) take them.
`published` tells the FIDs of the models' authors with the sets that they used. No FID is computed
here: it depends on the tool and the reference set, so one of those tools has to do it.

Exit status: 0 done; 1 a file or a setting cannot be used (the message says why); 2 wrong call;
4 no weights are to be had; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.errors import WeightsUnavailableError
from official.multimodal.taming_transformer.runtime import tune_cpu
from tools.evaluation.limits import learn_limits
from tools.evaluation.pictures import list_pictures

FAILED, NO_WEIGHTS, STOPPED = 1, 4, 130
Build = Callable[[str, "Path | None"], Any]


def main(arguments: Sequence[str] | None = None, build: Build | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: The command line; ``None`` is the program's own.
        build: ``build(name, weights)`` gives a model; ``None`` asks the zoo.
    """
    options = _parser().parse_args(arguments)
    learn_limits()
    try:
        options.run(options, build or _from_zoo)
    except KeyboardInterrupt:
        return _fail("stopped", STOPPED)
    except WeightsUnavailableError as error:
        return _fail(str(error), NO_WEIGHTS)
    except ModuleNotFoundError as error:
        return _fail(f"{error}: call `sh tools/run.sh evaluate`, or `pip install -r "
                     "requirements-evaluate.txt`", FAILED)  # fmt: skip
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__, FAILED)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _from_zoo(name: str, weights: Path | None) -> Any:
    builder = getattr(zoo, name)
    return builder(pretrained=True) if weights is None else builder(weights=weights)


def _report(options: argparse.Namespace, build: Build) -> None:
    from tools.evaluation.measure import Reconstructor, measure
    from tools.evaluation.report import write

    paths = _paths(options)
    weights = dict(options.weights)
    unknown = set(weights) - set(options.model)
    if unknown:
        raise ValueError(f"--weights names {sorted(unknown)[0]}, which --model does not")
    for name in options.model:
        _check_size(name, options.size)
    options.root.mkdir(parents=True, exist_ok=True)
    models = []
    for name in options.model:
        reconstruct = Reconstructor(_first_stage(build(name, weights.get(name))), options.size)
        with tqdm(total=len(paths), desc=name, unit="picture", disable=None) as bar:
            models.append((reconstruct, measure(name, reconstruct, paths, bar.update)))
    print(write(options.root, models, options.codebook))


def _export(options: argparse.Namespace, build: Build) -> None:
    from tools.evaluation.export import export
    from tools.evaluation.measure import Reconstructor

    paths, reconstruct, size = _paths(options), None, options.size
    if options.model is not None:
        _check_size(options.model, size)
        model = build(options.model, options.weights)
        reconstruct = Reconstructor(_first_stage(model), size)
        size = reconstruct.size
    elif size is None or size < 1:
        raise ValueError("--size is missing: give the side of the pictures in pixels, or --model")
    with tqdm(total=len(paths), unit="picture", disable=None) as bar:
        written = export(options.root, paths, size, reconstruct, bar.update)
    print("\n".join(str(path) for path in written))


def _published(options: argparse.Namespace, build: Build) -> None:
    rows = [(row.name, row.fid) for row in zoo.list_models() if row.fid]
    print("\n".join(f"{name:<42}{fid}" for name, fid in rows))


def _paths(options: argparse.Namespace) -> list[Path]:
    paths = list_pictures(options.pictures, deep=options.deep)
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit is {options.limit}; expected 1 or more")
    return paths[: options.limit]


def _first_stage(model: Any) -> Any:
    return getattr(model, "first_stage_model", model)


def _check_size(name: str, size: int | None) -> None:
    """Refuse what does not fit before weights are fetched."""
    from tools.evaluation.measure import Reconstructor

    Reconstructor(_first_stage(zoo.skeleton(name)), size)


def _named_file(text: str) -> tuple[str, Path]:
    name, found, path = text.partition("=")
    if not found or not path:
        raise argparse.ArgumentTypeError("expected NAME=FILE")
    return name, Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    names = [row.name for row in zoo.list_models()]
    report = commands.add_parser("report", help="measure models over a folder of pictures")
    report.add_argument("--model", nargs="+", required=True, choices=names, metavar="NAME",
                        help="one or several; of a transformer its first stage")  # fmt: skip
    report.add_argument("--weights", type=_named_file, action="append", default=[],
                        metavar="NAME=FILE", help="a checkpoint of that model")  # fmt: skip
    report.add_argument("--no-codebook", dest="codebook", action="store_false",
                        help="leave out the picture of all codes, which takes a while for large "
                        "codebooks")  # fmt: skip
    report.set_defaults(run=_report, root=Path("outputs/evaluation"))
    export = commands.add_parser("export", help="write pictures as FID tools take them")
    export.add_argument("--model", choices=names, metavar="NAME",
                        help="write its reconstructions too")  # fmt: skip
    export.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint of the model")
    export.set_defaults(run=_export, root=Path("outputs/exported"))
    for command in (report, export):
        command.add_argument("pictures", type=Path, metavar="FOLDER", help="of pictures")
        command.add_argument("--size", type=int, help="side of the squares in pixels (default: "
                             "what the model was trained on)")  # fmt: skip
        command.add_argument("--root", "-o", type=Path, metavar="FOLDER",
                             help="where files go (default: %(default)s)")  # fmt: skip
        command.add_argument("--deep", action="store_true", help="take the pictures of the "
                             "folders in it too; folders named by numbers are classes")  # fmt: skip
        command.add_argument("--limit", type=int, metavar="N", help="the first N pictures only")
    told = commands.add_parser("published", help="tell the published FIDs and their sets")
    told.set_defaults(run=_published)
    return parser


if __name__ == "__main__":
    tune_cpu()
    sys.exit(main())

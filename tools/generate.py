#!/usr/bin/env python3
r"""Make pictures: from label maps, depth maps, classes or nothing; complete or reconstruct them.

Examples:
    sh tools/run.sh generate reconstruct photo.jpg
    sh tools/run.sh generate segmentation labels.png --animate --seed 2022
    sh tools/run.sh generate depth depth.png --n-samples 4
    sh tools/run.sh generate class sunset winter --num-samples 8
    sh tools/run.sh generate unconditional --num-samples 16 --root landscapes
    sh tools/run.sh generate complete photo.jpg --mask hole.png --blend
    sh tools/run.sh generate class 207 281 --model cin_transformer

`generate COMMAND --help` tells every setting. Files go to the folder --root (outputs). A run that
is stopped, by Ctrl-C too, goes on where it was when the same command is given again (with its
seed, if none was given); files of other runs are never written over. Weights are fetched once and
kept, unless --weights names a file.

Exit status: 0 done; 1 an input, a setting or a file cannot be used (the message says why);
2 wrong call (unknown command, option or model); 4 no weights are to be had; 130 stopped by Ctrl-C.
With --json, stdout is one JSON object: "files", "seed" and "parameters", or "error".
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.classes import resolve_labels
from official.multimodal.taming_transformer.completion import Completion
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.errors import WeightsUnavailableError
from official.multimodal.taming_transformer.fast import FastSampler
from official.multimodal.taming_transformer.image import read_image
from official.multimodal.taming_transformer.reconstruction import Reconstruction
from official.multimodal.taming_transformer.runtime import tune_cpu
from official.multimodal.taming_transformer.sampling import SamplingParams
from tools.cli.generate_options import add_command

FAILED, NO_WEIGHTS, STOPPED = 1, 4, 130
Answer = Dict[str, Any]
Build = Callable[..., Any]


def main(arguments: Sequence[str] | None = None, build: Build | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: The command line; ``None`` is the program's own.
        build: ``build(name, weights)`` gives a model, ``build(name, None, bare=True)`` the same
            without weights; ``None`` asks the zoo.
    """
    options = _parser().parse_args(arguments)
    try:
        answer = options.run(options, build or _from_zoo)
    except KeyboardInterrupt:
        return _fail(options, "stopped; the same command goes on from here", STOPPED)
    except WeightsUnavailableError as error:
        return _fail(options, str(error), NO_WEIGHTS)
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        return _fail(options, str(error) or type(error).__name__, FAILED)
    if options.json:
        print(json.dumps(answer))
    else:
        seed = [f"seed {answer['seed']}"] if "seed" in answer else []
        print("\n".join([*answer["files"], *seed]))
    return 0


def _fail(options: argparse.Namespace, message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": message, "status": status}))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="generate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    rows = zoo.list_models()
    for name, (run, default, fits) in COMMANDS.items():
        models = [row.name for row in rows if fits(row.task)]
        add_command(commands, name, models, default).set_defaults(run=run)
    return parser


def _from_zoo(name: str, weights: Path | None, *, bare: bool = False) -> Any:
    if bare:
        return zoo.skeleton(name)
    builder = getattr(zoo, name)
    return builder(pretrained=True) if weights is None else builder(weights=weights)


def _drawing(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return a sampler's settings; those not given are what the model's authors recommend."""
    advice = zoo.model_row(options.model).sampling
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    for name in ("temperature", "top_k", "top_p"):
        given[name] = getattr(options, name, getattr(advice, name))
    return {**given, "root": options.root, "seed": options.seed, "progress": options.progress}


def _sampler_settings(options: argparse.Namespace) -> dict[str, Any]:
    names = "update_every scale_factor animate draw_window kernel_size fps segmentation_save"
    more = "cache_memory image_size invert ignore overwrite"
    settings = _drawing(options, *names.split(), *more.split())
    return {**settings, "animate": options.film} if hasattr(options, "film") else settings


def _answer(results: Any) -> Answer:
    every = results if isinstance(results, list) else [results]
    return {
        "files": [str(path) for result in every for path in result.files],
        "seed": every[0].seed,
        "parameters": dict(every[0].parameters),
    }


def _conditional(options: argparse.Namespace, build: Build) -> Answer:
    asked = {"x": options.image, "name": options.name, "n_samples": options.n_samples}
    asked["start"] = options.start
    settings, source = _sampler_settings(options), options.input
    # before gigabytes of weights are fetched
    ConditionalSampler(build(options.model, None, bare=True), **settings).check(source, **asked)
    model = build(options.model, options.weights)
    return _answer(ConditionalSampler(model, **settings)(source, **asked))


def _complete(options: argparse.Namespace, build: Build) -> Answer:
    asked = {"mask": options.mask, "c": options.map if options.label is None else options.label}
    asked.update(name=options.name, n_samples=options.n_samples, start=options.start)
    settings, source = _sampler_settings(options), options.input
    Completion(build(options.model, None, bare=True), **settings).check(source, **asked)
    model = build(options.model, options.weights)
    return _answer(Completion(model, **settings)(source, blend=options.blend, **asked))


def _fast(options: argparse.Namespace, build: Build) -> Answer:
    settings = _drawing(options, "batch_size", "num_samples", "update_every", "shard", "npz")
    bare = build(options.model, None, bare=True)
    params = SamplingParams(*(settings[name] for name in ("temperature", "top_k", "top_p")))
    params.check_vocabulary(bare.n_embed)
    if options.class_names is not None:
        settings["class_names"] = options.class_names.read_text(encoding="utf-8").splitlines()
    if options.labels:
        settings["class_labels"] = options.labels
        names = settings.get("class_names", bare.config.class_names or None)
        resolve_labels(options.labels, bare.config.n_classes, names)
    factor = bare.downsampling
    sides = options.size or [bare.config.window * factor] * 2
    if any(side % factor or side < factor for side in sides):
        raise ValueError(f"--size is in pixels; expected multiples of {factor} for this model")
    h, w = (side // factor for side in sides)
    sampler = FastSampler(build(options.model, options.weights), steps=None, **settings)
    result = sampler(h=h, w=w, name=options.name)
    files = [*result.files, *([] if result.npz is None else [result.npz])]
    shown = {name: str(value) if name == "root" else value for name, value in settings.items()}
    return {
        "files": [str(path) for path in files],
        "seed": result.seed,
        "parameters": {**shown, "seed": result.seed, "h": h, "w": w},
    }


def _first_stage(model: Any) -> Any:
    return getattr(model, "first_stage_model", model)


def _reconstruct(options: argparse.Namespace, build: Build) -> Answer:
    targets: dict[Path, Path] = {}
    for source in options.inputs:
        if not source.exists():
            raise FileNotFoundError(f"there is no picture {source}")
        name = source.name if source.is_dir() else f"{source.stem}_reconstruction.png"
        target = options.root / name
        if target in targets.values():
            raise ValueError(f"two pictures would become {target}: call once for each --root")
        if target.exists() and not options.overwrite:
            raise ValueError(f"{target} exists: choose another --root, or pass --overwrite")
        targets[source] = target
        if source.is_file():
            read_image(source)
    Reconstruction(_first_stage(build(options.model, None, bare=True)), options.size)
    model = build(options.model, options.weights)
    reconstruct = Reconstruction(_first_stage(model), options.size)
    options.root.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for source, target in targets.items():
        made = reconstruct(source, target)
        files += made if isinstance(made, list) else [target]
    return {"files": [str(path) for path in files]}


# command -> what runs it, its model if none is named, and the models that it can use
COMMANDS: dict[str, tuple[Callable[..., Answer], str, Callable[[str], bool]]] = {
    "reconstruct": (_reconstruct, "scenes_vqgan", lambda task: True),
    "segmentation": (
        _conditional,
        "scenes_segmentation_transformer",
        lambda task: task == "segmentation",
    ),
    "depth": (_conditional, "scenes_depth_transformer", lambda task: task == "depth"),
    "coordinates": (_conditional, "faceshq_transformer", lambda task: task == "coordinates"),
    "class": (_fast, "scenes_class_transformer", lambda task: task == "class"),
    "unconditional": (
        _fast,
        "scenes_unconditional_transformer",
        lambda task: task == "unconditional",
    ),
    "complete": (
        _complete,
        "scenes_unconditional_transformer",
        lambda task: task not in ("reconstruction", "scene_layout"),
    ),
}


if __name__ == "__main__":
    tune_cpu()
    sys.exit(main())

r"""Convert a checkpoint to this project's own format, or look into one; PyTorch is not needed.

Examples:
    sh tools/run.sh convert_weights last.ckpt --inspect
    sh tools/run.sh convert_weights last.ckpt --model vqgan_imagenet_f16_1024 \
        --output vqgan.safetensors --dtype float16
    sh tools/run.sh convert_weights last.ckpt --model s_flckr_transformer --part first_stage \
        --output first_stage.safetensors
    sh tools/run.sh convert_weights encoder.pkl decoder.pkl --model dalle_dvae_f8 \
        --output dvae.safetensors

Nothing that a file carries is run. Exit status: 0 done; 1 the source is missing, damaged, carries
code, or holds another model, or the output cannot be written; 2 wrong call (an unknown model, part
or option).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MGE_DEFAULT_DEVICE", "cpu0")

from official.multimodal.taming_transformer import zoo  # noqa: E402
from official.multimodal.taming_transformer.conversion import (  # noqa: E402
    DTYPES,
    Conversion,
    Sources,
    convert_file,
    source_files,
)
from official.multimodal.taming_transformer.convert import (  # noqa: E402
    PARTS,
    Shapes,
    fitting_models,
    guess_model,
    inside_part,
)
from official.multimodal.taming_transformer.errors import CheckpointError  # noqa: E402
from official.multimodal.taming_transformer.files import human, sha256_of  # noqa: E402

FORMAT = "megengine-taming"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.inspect and not (options.model and options.output):
        parser.error("give --model and --output, or --inspect")
    try:
        sources = source_files(options.source)
        if options.inspect:
            _inspect(sources)
        else:
            _convert(sources, options)
    except (CheckpointError, OSError) as error:
        return _fail(error, 1)
    except ValueError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail(RuntimeError("stopped; nothing was written"), 130)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convert_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="+",
        help="checkpoint (.ckpt .pth .pt .bin .pkl .safetensors); for OpenAI's dVAE its encoder "
        "and decoder files, or the folder that has them",
    )
    parser.add_argument("--model", help="model that it holds, as list_models() names it")
    parser.add_argument("--output", type=Path, help="safetensors file to write")
    parser.add_argument(
        "--part", choices=sorted(PARTS), help="take this part out of a transformer's checkpoint"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="numbers on disk")
    parser.add_argument(
        "--inspect", action="store_true", help="print what a checkpoint holds and what it fits"
    )
    return parser


def _fail(error: Exception, status: int) -> int:
    print(f"convert_weights: {error}", file=sys.stderr)
    return status


@lru_cache(maxsize=1)
def _candidates() -> Mapping[str, Shapes]:
    return {name: zoo.expected_shapes(name) for name in zoo.MODELS}


def _convert(sources: Mapping[str, Path], options: argparse.Namespace) -> None:
    output: Path = options.output
    if output.exists() and any(
        path.exists() and output.samefile(path) for path in sources.values()
    ):
        raise ValueError(f"--output {output} is the source itself: choose another file")
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.absolute().parent} to write into")
    expected = zoo.expected_shapes(options.model)
    missing = [str(path) for path in sources.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"there is no checkpoint file {', '.join(missing)}")
    metadata = {
        "format": FORMAT,
        "model": options.model,
        "source_sha256": " ".join(sha256_of(path) for path in sources.values()),
    }
    if options.part:
        metadata["part"] = options.part
    done = convert_file(
        sources,
        expected,
        output,
        dtype=options.dtype,
        part=options.part,
        candidates=_candidates,
        metadata=metadata,
    )
    _report(done, output, options.dtype)


def _report(done: Conversion, output: Path, dtype: str) -> None:
    print(f"layout    {done.plan.layout}")
    print(f"written   {done.tensors} tensors, {done.parameters:,} parameters, {dtype}")
    reasons = Counter(done.plan.dropped.values())
    for reason, count in sorted(reasons.items()):
        print(f"dropped   {count} tensors: {reason}")
    print(f"output    {output} ({human(output.stat().st_size)})")
    print(f"SHA-256   {done.sha256}")


def _inspect(sources: Mapping[str, Path]) -> None:
    with Sources(sources) as source:
        for file in source.files:
            print(f"file      {file.path} ({human(file.path.stat().st_size)}), {file.format}")
            for key, text in sorted(file.metadata.items()):
                print(f"metadata  {key}: {text!r}")
            for entry in file.skipped:
                print(f"beside    {_printable(entry)}")
        for name, info in source.tensors.items():
            print(f"tensor    {_printable(name)} {info.dtype} {list(info.shape)}")
        size = sum(info.size for info in source.tensors.values())
        bytes_ = sum(info.nbytes for info in source.tensors.values())
        print(f"total     {len(source.tensors)} tensors, {size:,} numbers, {human(bytes_)}")
        print(f"fits      {_fits(source.shapes)}")
        for part in PARTS:
            inner = inside_part(source.shapes, part)
            if inner:
                print(f"part      {part} fits {_fits(inner)}")


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _fits(shapes: Shapes) -> str:
    """Say which models tensors of these shapes are for."""
    exact = fitting_models(shapes, _candidates)
    if exact:
        return " or ".join(exact)
    like = guess_model(shapes, _candidates)
    return f"no model; most like {like}" if like else "no model"


if __name__ == "__main__":
    sys.exit(main())

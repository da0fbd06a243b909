"""Time and memory that a large picture takes in tiles, and how far the result is from the whole's.

    python benchmarks/large.py [--side 4096] [--model vqgan_imagenet_f16_16384]
    python benchmarks/large.py --side 1024 --compare      beside the picture at once
    python benchmarks/large.py --json FILE

The picture is drawn: soft shapes under noise, unlike in every part, since statistics and attention
span it. Weights are the shipped ones or drawn. The peak is that of the whole process, its start
and the picture included; --compare measures the other way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.worker import status_mb  # noqa: E402


def drawn_picture(side: int) -> np.ndarray:
    """Return RGB uint8 (side, side, 3)."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    stream = np.random.default_rng(0)
    picture = np.empty((side, side, 3), np.uint8)
    for channel in range(3):
        waves = np.sin((4 + channel) * rows + 9 * columns**2) * (0.2 + columns)
        waves += stream.standard_normal((side, side), np.float32) * 0.2 * rows
        picture[..., channel] = np.clip(128 + 80 * waves, 0, 255)
    return picture


def measure(name: str, side: int, tiled: bool, result: Path | None) -> dict[str, Any]:
    """Encode and decode in this process; keep codes and picture in ``result``, if given."""
    from megengine import Tensor

    from official.multimodal.taming_transformer import registry, zoo
    from official.multimodal.taming_transformer.cache import bundled_file
    from official.multimodal.taming_transformer.filling import initialise
    from official.multimodal.taming_transformer.image import to_unit_range
    from official.multimodal.taming_transformer.runtime import tune_cpu

    tune_cpu()
    registry.model_row(name)
    shipped = bundled_file(name).is_file()
    model = getattr(zoo, name)(pretrained=shipped)
    if not shipped:
        initialise(model)
    picture = to_unit_range(drawn_picture(side))
    start = time.perf_counter()
    z_q, indices = model.encode(Tensor(picture), tiled)
    codes = indices.numpy()
    middle = time.perf_counter()
    picture = model.decode(z_q, tiled).numpy()
    end = time.perf_counter()
    if result is not None:
        np.savez(result, codes=codes, picture=picture)
    seconds = {"encode_s": middle - start, "decode_s": end - middle}
    return {"tiled": tiled, **seconds, "peak_mb": status_mb("VmHWM")}


def main() -> None:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vqgan_imagenet_f16_16384")
    parser.add_argument("--side", type=int, default=4096, help="of the square picture, in pixels")
    parser.add_argument("--compare", action="store_true", help="run it at once too")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, result = options.measure
        target = Path(result) if options.compare else None
        print(json.dumps(measure(options.model, options.side, way == "tiled", target)))
        return
    figures: dict[str, Any] = {"model": options.model, "side": options.side}
    this = [sys.executable, *sys.argv]
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for way in ("tiled", "whole") if options.compare else ("tiled",):
            results.append(Path(folder) / f"{way}.npz")
            command = [*this, "--measure", way, str(results[-1])]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            figures[way] = json.loads(done.stdout.splitlines()[-1])
        if options.compare:
            tiled, whole = (np.load(path) for path in results)
            deviation = np.abs(tiled["picture"] - whole["picture"])
            figures["equal_codes"] = float((tiled["codes"] == whole["codes"]).mean())
            figures["deviation"] = float(deviation.max())
            figures["range"] = float(np.ptp(whole["picture"]))
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

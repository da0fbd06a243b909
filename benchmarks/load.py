"""Time and memory that it takes to build a model and load its weights, beside reading the file.

    python benchmarks/load.py [--model celebahq_transformer] [--json FILE]

Draws random weights once, writes them as safetensors into a temporary folder, and measures in a
fresh process each: seconds to read the warm file, seconds to build and load (medians of five, by
turns), and how far anonymous memory rises above the float32 bytes of the parameters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.worker import status_mb  # noqa: E402

ROUNDS = 5
# Seconds before each process. A virtual machine's host takes freed memory back after a second or
# two and gives it anew slowly: whoever started sooner after the other's end would seem faster.
REST = 4.0


class Peak:
    """The largest anonymous memory while the block runs, in MB above its start."""

    def __enter__(self) -> Peak:
        """Start watching."""
        self._start = self.mb = status_mb("RssAnon")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.mb = max(self.mb, status_mb("RssAnon"))

    def __exit__(self, *error: object) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self.mb = max(self.mb, status_mb("RssAnon")) - self._start


def read_seconds(path: Path) -> float:
    """Return the seconds to read a file into memory of its size."""
    start = time.perf_counter()
    with path.open("rb") as file:
        file.readinto(np.empty(path.stat().st_size, np.uint8))
    return time.perf_counter() - start


def measure(model: str, path: Path, read_s: float) -> dict[str, float]:
    """Build and load in this process, untouched memory before it; return seconds and MB."""
    from official.multimodal.taming_transformer import registry, zoo
    from official.multimodal.taming_transformer.runtime import tune_cpu

    tune_cpu()
    parameters = registry.model_row(model).parameters
    with Peak() as peak:
        start = time.perf_counter()
        network = getattr(zoo, model)(weights=path)
        seconds = time.perf_counter() - start
    if not np.isfinite(next(iter(network.parameters())).numpy()).all():
        raise RuntimeError("the loaded parameters are not finite")
    return {
        "read_s": read_s,
        "load_s": seconds,
        "time_ratio": seconds / read_s,
        "float32_mb": parameters * 4 / 1e6,
        "peak_mb": peak.mb,
        "memory_ratio": peak.mb / (parameters * 4 / 1e6),
    }


def write_weights(model: str, path: Path) -> None:
    """Write random weights of a model as safetensors."""
    from official.multimodal.taming_transformer import zoo
    from official.multimodal.taming_transformer.checkpoint import write_safetensors

    stream = np.random.default_rng(0)
    shapes = zoo.expected_shapes(model)
    tensors = {name: stream.standard_normal(s, np.float32) * 0.02 for name, s in shapes.items()}
    write_safetensors(path, tensors)


def _output(command: list[str]) -> str:
    time.sleep(REST)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


def main() -> None:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="celebahq_transformer")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(read_seconds(arguments.read))
        return
    if arguments.measure:
        path, read_s = arguments.measure
        print(json.dumps(measure(arguments.model, Path(path), float(read_s))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{arguments.model}.safetensors"
        write_weights(arguments.model, path)
        this = [sys.executable, __file__, "--model", arguments.model]
        # a process each: memory that has been touched before would flatter one of the two
        reads, loads = [], []
        for _ in range(ROUNDS):  # by turns
            reads.append(float(_output([*this, "--read", str(path)])))
            loads.append(json.loads(_output([*this, "--measure", str(path), "1"])))
        figures = sorted(loads, key=lambda load: load["load_s"])[ROUNDS // 2]
        figures["read_s"] = float(np.median(reads))
        figures["time_ratio"] = figures["load_s"] / figures["read_s"]
    for name, value in figures.items():
        print(f"{name:14s} {value:10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

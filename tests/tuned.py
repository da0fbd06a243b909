"""A program in a process of its own, under the settings of ``tools/run.sh``."""

import os
import subprocess
import sys
from pathlib import Path

from official.multimodal.taming_transformer.runtime import GLIBC_TUNABLES


def number_printed(program: str) -> float:
    """Run Python text, with the project on its path, and return the number that it prints."""
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root, "GLIBC_TUNABLES": GLIBC_TUNABLES},
        check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    return float(done.stdout)

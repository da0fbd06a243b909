"""Find the interpreter that holds the PyTorch original, for tests that compare against it live."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "TAMING_REFERENCE_PYTHON"


@lru_cache(maxsize=None)
def _problem(python: Path) -> str:
    """Return why ``python`` cannot import torch, or ``""`` where it can."""
    if not python.is_file():
        return f"{python} does not exist"
    try:
        done = subprocess.run(
            [str(python), "-c", "import torch"], capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python} does not run: {error}"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else f"{python} has no torch: {lines[-1] if lines else '?'}"


def reference_python() -> Path:
    """Return the interpreter of the reference environment (Python 3.11 with torch).

    It is the one that ``TAMING_REFERENCE_PYTHON`` names, or else ``.venv-ref/bin/python`` in the
    repository's root. Without one the test is skipped with the reason, but fails where ``CI=true``.
    """
    named = os.environ.get(VARIABLE, "")
    python = Path(named) if named else ROOT / ".venv-ref" / "bin" / "python"
    problem = _problem(python)
    if not problem:
        return python
    message = f"no live comparison: {problem}; set {VARIABLE}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def run_reference(script: Path, *arguments: object, timeout: float = 600.0) -> str:
    """Run ``script`` in the reference environment and return what it printed."""
    command = [str(reference_python()), str(script), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=ROOT
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout

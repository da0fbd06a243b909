"""The work tree as a local git remote from which `megengine.hub` loads by SSH's address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Mapping

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = "somebody/models"


def make_remote(base: Path, changes: Mapping[str, bytes] | None = None) -> dict[str, str]:
    """Commit the work tree as it is to a new repository; return the environment that leads to it.

    Args:
        base: Empty or new folder for the repository and for a home of its own.
        changes: Path in the repository -> content, instead of the work tree's.
    """
    folder = base / "models.git"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
         "official", "hubconf.py", "assets"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.decode().split("\0") if name]
    contents = {n: (ROOT / n).read_bytes() for n in names if (ROOT / n).is_file()}
    for name, content in {**contents, **(changes or {})}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-f", "."], ["commit", "-qm", "state"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    home = base / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"git@github.com:{REPOSITORY}.git",
        "MGE_HOME": str(home / "megengine"),
        "XDG_CACHE_HOME": str(home),
        "HOME": str(home),
    }
    environment.pop("PYTHONPATH", None)
    return environment

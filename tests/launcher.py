"""A copy of the launcher among stand-ins for Python, pip and uv, and a real one for clones."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = "basename cat cp dirname env ls mkdir mv printf rm sed sh sleep tail timeout tr true"

# Answers as Python does to what the launcher asks of it, and writes every question down.
FAKE_PYTHON = """#!/bin/sh
printf '%s\\n' "$0 $*" >>"$FAKE_LOG"
case "$*" in
    *base_prefix*) echo "{version} $0" ;;
    *sys.version_info*) echo "{version}" ;;
    *'-m venv'*)
        for folder; do :; done
        rm -rf "$folder" && mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
    *'-m pip --version'*) ;;
    *'-m pip install'*)
        sleep "${{FAKE_PIP_SECONDS:-0}}"
        exit "${{FAKE_PIP_STATUS:-0}}" ;;
    *'import megengine'*)
        echo "${{FAKE_IMPORT_ERROR:-}}" >&2
        [ -z "${{FAKE_IMPORT_ERROR:-}}" ] ;;
    *) exec {real} "$@" ;;
esac
"""

ECHO_TOOL = """import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "path": sys.path,
                  "PYTHONPATH": os.environ.get("PYTHONPATH")}))
sys.exit(7 if "fail" in sys.argv else 0)
"""

FAKE_CHECK = 'echo "checks: $*"; echo "smoke:${SMOKE_PYTHONS:-}"\n'


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Checkout:
    """A copy of the launcher in ``root`` that sees the programs in ``bin`` and nothing else."""

    root: Path
    bin: Path
    home: Path
    log: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.home), "FAKE_LOG": str(self.log), **more}

    def python(self, version: str, where: Path | None = None) -> Path:
        """Put a stand-in for that Python on PATH, or at ``where``."""
        text = FAKE_PYTHON.format(version=version, real=shlex.quote(sys.executable))
        return write_program(where or self.bin / f"python{version}", text)

    def start(self, *arguments: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(self.root / "tools" / "run.sh"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self.root,
            env=self.environment(**more),
            start_new_session=True,
        )

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run_in(self.root, *arguments, **more)

    def run_in(
        self, folder: Path, *arguments: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, cwd=folder, **more)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def installs(self) -> list[str]:
        """Return the pip installs so far, one line each."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if "-m pip install" in line]

    def stamps(self) -> list[str]:
        return sorted(path.name for path in self.root.glob(".venv*/.installed-*"))

    def moved_to(self, root: Path) -> Checkout:
        self.root.rename(root)
        return Checkout(root, self.bin, self.home, self.log)


def make_checkout(folder: Path) -> Checkout:
    """Lay out a checkout whose path has blanks, with small requirements and a tool that echoes."""
    root, programs, home = folder / "a check out", folder / "bin", folder / "home"
    for made in (root / "tools", root / ".ci", programs, home):
        made.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "run.sh", root / "tools" / "run.sh")
    (root / "tools" / "echo_back.py").write_text(ECHO_TOOL)
    (root / ".ci" / "check.sh").write_text(FAKE_CHECK)
    for name in ("", "-dev", "-demo", "-evaluate", "-docs", "-reference", "-reference-code"):
        (root / f"requirements{name}.txt").write_text(f"something{name}==1\n")
    for name in COMMANDS.split():
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    return Checkout(root, programs, home, folder / "log")


def make_real(checkout: Checkout) -> None:
    """Let ``checkout`` install for real: this Python, and a wheel that stands for the engine."""
    wheel = checkout.root / "megengine-1-py3-none-any.whl"
    files = {
        "METADATA": "Metadata-Version: 2.1\nName: megengine\nVersion: 1\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("megengine.py", "")
        for name, text in files.items():
            archive.writestr(f"megengine-1.dist-info/{name}", text)
    (checkout.root / "requirements.txt").write_text(f"./{wheel.name}\n")
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    write_program(checkout.bin / base.name, f'#!/bin/sh\nexec "{os.fspath(base)}" "$@"\n')

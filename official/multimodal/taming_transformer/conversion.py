"""Convert checkpoint files to our own format, one tensor at a time."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np

from .checkpoint import TensorFile, TensorInfo, open_checkpoint, write_stream
from .convert import Candidates, Plan, Shapes, plan_conversion
from .errors import CheckpointError
from .training_state import ROW_MAJOR

DTYPES = ("float32", "float16")
HALVES = ("encoder", "decoder")


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        sha256: Of the file written, 64 hexadecimal digits.
        tensors: Number of tensors written.
        parameters: Number of their elements.
        plan: What became of every tensor of the source.
    """

    sha256: str
    tensors: int
    parameters: int
    plan: Plan


class Sources:
    """One checkpoint file, or two that hold the halves of a model, as one set of tensors."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Open the files; ``files`` maps what goes before a file's names to the file.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: A file cannot be read.
        """
        self.files: list[TensorFile] = []
        self._stack = ExitStack()
        self._places: dict[str, tuple[TensorFile, str]] = {}
        self.tensors: dict[str, TensorInfo] = {}
        with self._stack:
            for prefix, path in files.items():
                file = self._stack.enter_context(open_checkpoint(path))
                self.files.append(file)
                for name, info in file.tensors.items():
                    self.tensors[prefix + name] = info
                    self._places[prefix + name] = (file, name)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Sources:
        """Return the sources themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def shapes(self) -> Shapes:
        """Name -> shape of every tensor."""
        return {name: info.shape for name, info in self.tensors.items()}

    @property
    def path(self) -> str:
        """The files, for messages."""
        return " and ".join(str(file.path) for file in self.files)

    def read(self, name: str, dtype: str | None = None) -> np.ndarray:
        """Read one tensor and verify its checksum; see ``TensorFile.read``."""
        file, inner = self._places[name]
        return file.read(inner, dtype, verify=True)

    def read_into(self, name: str, out: np.ndarray) -> None:
        """Read one tensor into ``out`` likewise; see ``TensorFile.read_into``."""
        file, inner = self._places[name]
        file.read_into(inner, out, verify=True)


def source_files(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Say which file holds which half of a model.

    Args:
        paths: One file; or a folder or two files with ``encoder`` and ``decoder`` in their names,
            as OpenAI's dVAE is published.

    Returns:
        What goes before the names of each file's tensors -> the file.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is not clear which files are meant.
    """
    files = [Path(path) for path in paths]
    if len(files) == 1 and files[0].is_dir():
        files = sorted(p for p in files[0].iterdir() if p.is_file() and _half(p) is not None)
    elif len(files) == 1:
        return {"": files[0]}
    halves = {f"{_half(path)}.": path for path in files}
    if len(files) != 2 or set(halves) != {f"{half}." for half in HALVES}:
        names = ", ".join(str(path) for path in paths)
        raise ValueError(
            f"give one checkpoint, or one file named for the encoder and one for the decoder "
            f"(or a folder that has both), not {names}"
        )
    return {f"{half}.": halves[f"{half}."] for half in HALVES}


def _half(path: Path) -> str | None:
    named = [half for half in HALVES if half in path.stem.lower()]
    return named[0] if len(named) == 1 else None


def convert_file(
    sources: Mapping[str, Path],
    expected: Shapes,
    output: str | Path,
    *,
    dtype: str = "float32",
    part: str | None = None,
    candidates: Candidates | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Conversion:
    """Write the tensors that a model expects from a checkpoint to a safetensors file.

    Memory rises by little more than the largest tensor. The same input gives the same bytes.

    Args:
        sources: See ``source_files``.
        expected: Name -> shape of the model's tensors.
        output: File to write; an existing one is replaced when all is well.
        dtype: ``"float32"`` or ``"float16"``.
        part: See ``plan_conversion``.
        candidates: See ``plan_conversion``.
        metadata: Texts for the file's header.

    Raises:
        ValueError: ``dtype`` or ``part`` is unknown.
        FileNotFoundError: There is no such source.
        CheckpointError: The source cannot be read, holds another model, or does not fit the dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"there is no dtype {dtype!r} for weights; use {' or '.join(DTYPES)}")
    with Sources(sources) as source:
        plan = plan_file(source, expected, part=part, candidates=candidates)
        infos = {name: TensorInfo(ref.shape, dtype) for name, ref in plan.take.items()}
        sha256 = write_stream(
            output, infos, lambda name: _tensor(source, plan, name, dtype), metadata
        )
    return Conversion(sha256, len(infos), sum(info.size for info in infos.values()), plan)


def plan_file(
    source: Sources | TensorFile,
    expected: Shapes,
    *,
    part: str | None = None,
    candidates: Candidates | None = None,
) -> Plan:
    """Return what ``plan_conversion`` does for an open file, and check what shapes cannot tell.

    Raises:
        ValueError: ``part`` is unknown.
        CheckpointError: See ``plan_conversion``; also where integers lie in the place of weights
            or the tokens are not in row-major order. The message names the file.
    """
    found = {name: info.shape for name, info in source.tensors.items()}
    try:
        plan = plan_conversion(found, expected, part=part, candidates=candidates)
        _check_tensors(source, plan)
    except CheckpointError as error:
        raise CheckpointError(f"{source.path} {error}") from None
    return plan


def _check_tensors(source: Sources | TensorFile, plan: Plan) -> None:
    for ref in plan.take.values():
        dtype = source.tensors[ref.source].dtype
        if "float" not in dtype:
            raise CheckpointError(f"holds {dtype} in {ref.source}, where weights are expected")
    for name, reason in plan.dropped.items():
        if reason == ROW_MAJOR:
            order = source.read(name).reshape(-1)
            if not np.array_equal(order, np.arange(order.size)):
                raise CheckpointError(f"permutes its tokens ({name}), which is not supported")


def _tensor(source: Sources, plan: Plan, name: str, dtype: str) -> np.ndarray:
    """Return one tensor in its final shape and dtype; numbers must survive the rounding."""
    ref = plan.take[name]
    if dtype != "float16":
        return ref.transform(source.read(ref.source, dtype))
    wide = source.read(ref.source)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float16)
    if not np.array_equal(np.isfinite(narrow), np.isfinite(wide)):
        raise CheckpointError(
            f"{source.path} holds numbers in {ref.source} that float16 cannot: use float32"
        )
    return ref.transform(narrow)

"""Open a checkpoint of any known format, decided by its content, without running any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Callable

from .errors import CheckpointError
from .pickle_machine import PickleMachine
from .safetensors_file import read_safetensors_index, write_safetensors, write_stream
from .state_tree import find_state
from .tensor_file import TensorFile
from .tensor_slots import Index, Place, Slot, TensorInfo, brief
from .torch_pickle import Storage, WeightNames, tensor_slot
from .torch_zip import Directory, read_directory

__all__ = ["TensorFile", "TensorInfo", "open_checkpoint", "write_safetensors", "write_stream"]

# A pickle of this number opens every legacy torch file.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001


def open_checkpoint(path: str | Path) -> TensorFile:
    """Open a checkpoint: names, shapes and dtypes are read and checked, tensors are not.

    Args:
        path: A safetensors file, a PyTorch file (zip or legacy; a state dict, a Lightning
            checkpoint or a pickled module), or a MegEngine ``.pkl``. Its name does not matter.

    Returns:
        The open file; use it as a context manager.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is of no known format, damaged, lying about sizes, or refers to
            anything that weights do not need.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    file = path.open("rb")
    try:
        size = file.seek(0, 2)
        index = _reader(file, size)(file, size)
        if not index.slots:
            raise CheckpointError("holds no tensors")
        return TensorFile(path, file, index)
    except CheckpointError as error:
        file.close()
        raise CheckpointError(f"{path} {error}") from None
    except BaseException:
        file.close()
        raise


def _reader(file: BinaryIO, size: int) -> Callable[[BinaryIO, int], Index]:
    """Return the reader of the format that the file's first bytes show."""
    file.seek(0)
    head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_zip
    if head.startswith(_LEGACY):
        return _read_legacy
    if head[:1] == b"\x80":
        return _read_plain
    if head[8:9] == b"{":
        return read_safetensors_index
    raise CheckpointError(f"is no checkpoint: it is {_describe(head, size)}")


def _describe(head: bytes, size: int) -> str:
    """Say what a file of no known format seems to be."""
    if not size:
        return "empty; get it again"
    if head.lstrip()[:1] == b"<":
        return "a web page, perhaps a server's error message; get the file itself"
    if head[257:262] == b"ustar":
        return "a tar archive, as PyTorch wrote before 0.1.10; save it anew with a later PyTorch"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        return "compressed; unpack it first"
    return "neither safetensors, nor a PyTorch file, nor a MegEngine pickle"


def _read_plain(file: BinaryIO, size: int) -> Index:
    """Index a pickle of arrays, as ``megengine.save`` writes it."""
    names = WeightNames()
    root = PickleMachine(file, 0, size, names).load()
    if names.storages:
        raise CheckpointError("is a pickle of PyTorch tensors without their data")
    return _index("megengine", root, {})


def _read_zip(file: BinaryIO, size: int) -> Index:
    """Index a PyTorch file in its zip format."""
    directory = read_directory(file, size)
    roots = [n[: -len("data.pkl")] for n in directory.records if n.endswith("/data.pkl")]
    if len(roots) != 1:
        inside = ", ".join(brief(name, 40) for name in list(directory.records)[:3])
        raise CheckpointError(f"is a zip archive of {inside} but no checkpoint: unpack it first")
    root = roots[0]
    if f"{root}constants.pkl" in directory.records:
        raise CheckpointError("is a TorchScript program: it carries code. Save a state dict")
    _check_byte_order(file, directory, f"{root}byteorder")
    names = WeightNames()
    pickle = directory.place(file, f"{root}data.pkl")
    value = PickleMachine(file, pickle.begin, pickle.begin + pickle.length, names).load()
    places = {
        storage.key: _checked(storage, directory.place(file, f"{root}data/{storage.key}"))
        for storage in names.storages.values()
    }
    return _index("torch", value, places)


def _check_byte_order(file: BinaryIO, directory: Directory, name: str) -> None:
    if name not in directory.records:
        return
    place = directory.place(file, name)
    file.seek(place.begin)
    order = file.read(min(place.length, 16))
    if order != b"little":
        raise CheckpointError(f"has the byte order {order!r}: only 'little' is read")


def _checked(storage: Storage, place: Place) -> Place:
    """Return the place of a storage whose stated size is the one of its bytes."""
    stated = TensorInfo((storage.count,), storage.dtype).nbytes
    if stated != place.length:
        raise CheckpointError(
            f"has a storage {brief(storage.key)} of {place.length} bytes that states {stated}"
        )
    return place


def _read_legacy(file: BinaryIO, size: int) -> Index:
    """Index a PyTorch file as it was written before 1.6: five pickles, then the storages."""
    names = WeightNames()
    values: list[Any] = []
    position = 0
    for _ in range(5):
        machine = PickleMachine(file, position, size, names)
        values.append(machine.load())
        position = machine.position
    _, protocol, system, root, keys = values
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        raise CheckpointError(
            f"is a legacy PyTorch file of another protocol than {_LEGACY_PROTOCOL}"
        )
    if system.get("little_endian") is not True:
        raise CheckpointError("was written on a big-endian machine")
    places: dict[str, Place] = {}
    for key in keys:
        storage = names.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise CheckpointError("lists a storage that no tensor uses")
        file.seek(position)
        head = file.read(8)
        stated = TensorInfo((storage.count,), storage.dtype).nbytes
        if int.from_bytes(head, "little") != storage.count or position + 8 + stated > size:
            raise CheckpointError(f"is cut off or damaged at storage {brief(key)}: get it again")
        places[key] = Place(position + 8, stated)
        position += 8 + stated
    missing = sorted(set(names.storages) - set(places))
    if missing:
        raise CheckpointError(f"lacks the storages {brief(str(missing))}: get it again")
    return _index("torch-legacy", root, places)


def _index(kind: str, root: Any, places: dict[str, Place]) -> Index:
    state = find_state(root)
    slots: dict[str, Slot] = {
        name: tensor_slot(name, value, places) for name, value in state.tensors.items()
    }
    return Index(kind, slots, state.metadata, state.skipped)

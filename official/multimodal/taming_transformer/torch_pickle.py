"""What the names in pickled weights mean, and how their values become a flat list of tensors.

Covers PyTorch's zip and legacy files, whole pickled modules, and MegEngine's ``save``.
Source of the formats: ``torch/_utils.py`` and ``torch/serialization.py`` of PyTorch, and
``numpy``'s ``ndarray.__reduce__``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping

from .errors import CheckpointError
from .pickle_values import Blob, Global, Inert
from .tensor_slots import Place, Slot, TensorInfo, brief, contiguous_strides, make_slot

STORAGES: Mapping[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
NUMPY_CODES: Mapping[str, str] = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u8": "uint64",
    "u4": "uint32",
    "u2": "uint16",
    "u1": "uint8",
    "b1": "bool",
}
_BUILTINS = "set frozenset list dict tuple int float str bool complex bytes bytearray object"
# Names that stand for themselves: what they would have made is kept as an inert record.
INERT_NAMES = frozenset(
    [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS.split()]
    + [f"torch.{name}" for name in ("device", "Size", *STORAGES)]
    + [f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64", "uint8")]
    + [f"numpy.{core}.multiarray.{n}" for core in ("core", "_core") for n in ("scalar",)]
    + ["argparse.Namespace", "collections.defaultdict", "collections.Counter", "typing.Any"]
    + ["pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "_codecs.encode"]
    + ["numpy.ndarray", "numpy.dtype", "enum.Enum"]
)
# Libraries whose objects ride along in training checkpoints, or whose modules were saved whole.
INERT_LIBRARIES = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "omegaconf.",
    "torch.nn.",
    "torch.optim.",
    "dall_e.",
    "taming.",
    "ldm.",
)
_FIRST_ARGUMENT = frozenset(
    (
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "megengine.tensor.Tensor",
        "megengine.tensor.Parameter",
    )
)
_TENSORS = frozenset(["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"])
_ARRAYS = frozenset(
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "numeric._frombuffer")
)
_ORDERED = "collections.OrderedDict"
_KNOWN = INERT_NAMES | _FIRST_ARGUMENT | _TENSORS | _ARRAYS | {_ORDERED}


@dataclass(frozen=True)
class Storage:
    """Elements that one or more tensors share."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False)
class View:
    """A tensor over a storage, in elements; not checked yet."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class WeightNames:
    """The meaning of the names in pickled weights; remembers the storages that it met."""

    def __init__(self) -> None:
        """Begin with no storage."""
        self.storages: dict[str, Storage] = {}

    def check(self, name: Global) -> None:
        """Refuse a name that weight files do not need."""
        text = str(name)
        if text not in _KNOWN and not text.startswith(INERT_LIBRARIES):
            raise CheckpointError(
                f"refers to {brief(text)}, which no weights need: it may carry code, so it is "
                "refused and nothing of it was run. Save a plain state dict instead"
            )

    def call(self, name: Global, arguments: tuple[Any, ...]) -> Any:
        """Return plain data for the few names that make data, and an inert record for others."""
        text = str(name)
        if text in _TENSORS:
            if len(arguments) < 4:
                raise CheckpointError("has a damaged pickle: a tensor lacks its shape")
            return View(*arguments[:4])
        if text in _FIRST_ARGUMENT and arguments:
            return arguments[0]
        if text == _ORDERED:
            return _ordered(arguments)
        if text == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
            return arguments[0]
        return Inert(name, arguments)

    def build(self, target: Any, state: Any) -> Any:
        """Give an inert record its state; attributes of maps and tensors are dropped."""
        if isinstance(target, Inert):
            # MegEngine wraps an array in a Tensor that has a state of its own, which is a map.
            if not (is_tensor(target) and isinstance(state, dict)):
                target.state = state
        elif not isinstance(target, (dict, View)):
            raise CheckpointError("has a damaged pickle: it sets the state of plain data")
        return target

    def persistent(self, key: Any) -> Any:
        """Return the storage, or the class of a whole module, that an id stands for."""
        if isinstance(key, tuple) and len(key) >= 2 and key[0] == "module":
            return key[1]
        if not (isinstance(key, tuple) and len(key) in (5, 6) and key[0] == "storage"):
            raise CheckpointError("has a persistent id that is no storage")
        kind, name, count = key[1], key[2], key[4]
        if len(key) == 6 and key[5] is not None:
            raise CheckpointError("has a view into a storage as PyTorch before 0.4 wrote it")
        if not (isinstance(kind, Global) and kind.module == "torch" and kind.name in STORAGES):
            raise CheckpointError("has a storage of a type that is none of PyTorch's")
        if not isinstance(name, str) or type(count) is not int or count < 0:
            raise CheckpointError("has a storage without a name or size")
        found = Storage(name, STORAGES[kind.name], count)
        if self.storages.setdefault(name, found) != found:
            raise CheckpointError(f"has two different storages named {brief(name)}")
        return found


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Return the map that ``OrderedDict(pairs)`` would be, for pairs with text keys."""
    if not arguments:
        return {}
    if len(arguments) != 1 or not isinstance(arguments[0], list):
        raise CheckpointError("has a damaged pickle: an OrderedDict of something else than pairs")
    pairs = [p for p in arguments[0] if isinstance(p, (list, tuple)) and len(p) == 2]
    return {key: value for key, value in pairs if isinstance(key, str)}


def is_tensor(value: Any) -> bool:
    """Tell whether a value is a tensor or an array whose bytes lie in the file."""
    if isinstance(value, View):
        return True
    return isinstance(value, Inert) and str(value.kind) in _ARRAYS


def tensor_slot(name: str, value: Any, places: Mapping[str, Place]) -> Slot:
    """Return where the elements of a tensor lie.

    Args:
        name: For messages.
        value: What ``is_tensor`` accepts.
        places: Storage key -> where its bytes lie in the file.

    Raises:
        CheckpointError: The tensor does not fit its storage, or has an unknown dtype.
    """
    if isinstance(value, Inert):
        return _array_slot(name, value)
    storage, shape, strides = value.storage, value.shape, value.strides
    valid = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    if not valid or type(value.offset) is not int or value.offset < 0:
        raise CheckpointError(f"tensor {brief(name)} is no proper view of a storage")
    place = places[storage.key]
    info = TensorInfo(shape, storage.dtype)
    skip = value.offset * info.itemsize
    slot = make_slot(name, info, place.begin + skip, room=place.length - skip, strides=strides)
    whole = slot.strides is None and info.nbytes == place.length
    return replace(slot, crc=place.crc) if whole else slot


def _array_slot(name: str, value: Inert) -> Slot:
    """Return where a numpy array lies: protocol 5 gives a buffer, earlier ones a state."""
    fields: Any = value.arguments if value.kind.name == "_frombuffer" else value.state
    if not isinstance(fields, tuple) or len(fields) not in (4, 5):
        raise CheckpointError(f"array {brief(name)} has no proper state")
    if value.kind.name == "_frombuffer":
        data, dtype, shape, order = fields[:4]
    else:
        _, shape, dtype, fortran, data = (1, *fields)[-5:]
        order = "F" if fortran is True else "C"
    if not (isinstance(data, Blob) and isinstance(shape, tuple)):
        raise CheckpointError(f"array {brief(name)} has no plain bytes: save it with protocol 4")
    info = TensorInfo(shape, _array_dtype(name, dtype))
    slot = make_slot(name, info, data.offset, room=data.length)
    if info.nbytes != data.length:
        raise CheckpointError(
            f"array {brief(name)} {brief(shape)} has {data.length} bytes, not {info.nbytes}"
        )
    if order == "F":
        steps = tuple(reversed(contiguous_strides(shape[::-1])))
        return make_slot(name, info, data.offset, room=data.length, strides=steps)
    return slot


def _array_dtype(name: str, value: Any) -> str:
    code, order = "", ""
    if isinstance(value, Inert) and str(value.kind) == "numpy.dtype" and value.arguments:
        state = value.state if isinstance(value.state, tuple) else ()
        code = _text(value.arguments[0])
        order = "".join(_text(entry) for entry in state[1:2])
    if code not in NUMPY_CODES or order == ">":
        raise CheckpointError(
            f"array {brief(name)} has a dtype other than {'|'.join(NUMPY_CODES)}, little-endian"
        )
    return NUMPY_CODES[code]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

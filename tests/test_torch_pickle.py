"""Pickles that carry code, lie, or are built to exhaust the reader: none of it is ever run."""

from __future__ import annotations

import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from official.multimodal.taming_transformer import pickle_machine, state_tree
from official.multimodal.taming_transformer.checkpoint import open_checkpoint
from official.multimodal.taming_transformer.errors import CheckpointError

from . import torch_zip as tz
from .reference_env import reference_python, run_reference


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message.replace(str(path), "")  # its folder is named after the test


def containers(value: bytes) -> dict[str, bytes]:
    """The same pickled value in a zip file, a legacy file and a plain pickle."""
    legacy = [tz.program(v) for v in (tz.number(tz.MAGIC), tz.number(1001), tz.mapping({}), value)]
    return {
        "zip": tz.archive(tz.program(value), {}),
        "legacy": b"".join([*legacy, tz.program(b"]")]),
        "plain": tz.program(value, 4),
    }


GADGETS = {
    "os.system": lambda m: tz.call("os", "system", tz.text(f"touch {m}")),
    "posix.system": lambda m: tz.call("posix", "system", tz.text(f"touch {m}")),
    "builtins.eval": lambda m: tz.call("builtins", "eval", tz.text(f"open({m!r}, 'w')")),
    "builtins.exec": lambda m: tz.call("builtins", "exec", tz.text(f"open({m!r}, 'w')")),
    "builtins.open": lambda m: tz.call("builtins", "open", tz.text(m), tz.text("w")),
    "builtins.getattr": lambda m: tz.call("builtins", "getattr", b"N", tz.text("x")),
    "__builtin__.eval": lambda m: tz.call("__builtin__", "eval", tz.text(f"open({m!r}, 'w')")),
    "subprocess.Popen": lambda m: tz.call("subprocess", "Popen", tz.text(f"touch {m}")),
    "importlib.import_module": lambda m: tz.call("importlib", "import_module", tz.text("os")),
    "operator.attrgetter": lambda m: tz.call("operator", "attrgetter", tz.text("x")),
    "functools.partial": lambda m: tz.call("functools", "partial", tz.name("os", "system")),
    "numpy.load": lambda m: tz.call("numpy", "load", tz.text(m)),
    "numpy.testing._private.utils.runstring": lambda m: tz.call(
        "numpy.testing._private.utils", "runstring", tz.text(f"open({m!r}, 'w')"), b"}"
    ),
    "numpy.core.multiarray.fromfile": lambda m: tz.call(
        "numpy.core.multiarray", "fromfile", tz.text(m)
    ),
    "torch.load": lambda m: tz.call("torch", "load", tz.text(m)),
    "torch.hub.load": lambda m: tz.call("torch.hub", "load", tz.text(m)),
    "torch.storage._load_from_bytes": lambda m: tz.call(
        "torch.storage", "_load_from_bytes", b"C\x01x"
    ),
    "torch.jit.load": lambda m: tz.call("torch.jit", "load", tz.text(m)),
    "megengine.load": lambda m: tz.call("megengine", "load", tz.text(m)),
    "collections.OrderedDict.__init__": lambda m: tz.call(
        "collections", "OrderedDict.__init__", b")"
    ),
    "pytorch_lightningx.run": lambda m: tz.call("pytorch_lightningx", "run", b")"),
    "site.execsitecustomize": lambda m: tz.call("site", "execsitecustomize"),
}


@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.parametrize("container", ["zip", "legacy", "plain"])
def test_code_is_refused_by_name_and_never_run(tmp_path: Path, container: str, gadget: str) -> None:
    marker = tmp_path / "ran"
    value = tz.mapping({"x": GADGETS[gadget](str(marker))})
    path = write(tmp_path / "evil", containers(value)[container])
    message = refusal(path)
    assert gadget in message
    assert "refused" in message
    assert not marker.exists()


def test_the_payloads_would_really_run_elsewhere(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(containers(GADGETS["builtins.open"](str(marker)))["plain"]).close()
    assert marker.exists()


class Payload:
    """What Python's own pickle turns into a call of ``os.system``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(6))
def test_payloads_of_every_protocol_are_refused(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    value = {"weight": np.zeros(3, np.float32), "x": Payload(marker)}
    path = write(tmp_path / "evil.pkl", pickle.dumps(value, protocol=protocol))
    refusal(path)
    assert not marker.exists()


def test_inert_objects_run_nothing_even_where_their_class_is_installed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    # argparse.Namespace is a known name: its arguments and state are kept and never used.
    value = tz.call("argparse", "Namespace", tz.text(f"touch {marker}")) + tz.mapping(
        {"__class__": tz.text("x"), "__reduce__": tz.text("y")}
    ) + b"b"  # fmt: skip
    entries, records = tz.state_dict({"w": np.ones(2, np.float32)})
    data = tz.archive(tz.program(tz.mapping({**entries, "args": value})), records)
    with open_checkpoint(write(tmp_path / "x.pt", data)) as file:
        assert list(file.tensors) == ["w"]
        assert file.skipped == ("args",)


def test_known_names_stay_inert_records(tmp_path: Path) -> None:
    entries, records = tz.state_dict({"w": np.ones(2, np.float32)})
    foreign = {
        "lightning": tz.name("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
        "omega": tz.call("omegaconf.dictconfig", "DictConfig"),
        "factory": tz.call("collections", "defaultdict", tz.name("builtins", "dict")),
        "device": tz.call("torch", "device", tz.text("cuda:0")),
    }
    data = tz.archive(tz.program(tz.mapping({**entries, **foreign})), records)
    with open_checkpoint(write(tmp_path / "x.pt", data)) as file:
        assert list(file.tensors) == ["w"]
        assert set(file.skipped) == set(foreign)


@pytest.mark.parametrize(
    "value",
    [
        b"i" + b"os\nsystem\n",  # INST
        b"o",  # OBJ
        b"P1\n",  # text persistent id
        b"\x82\x01",  # copyreg extension
        b"I" + b"9" * 50_000 + b"\n",
        b"L" + b"9" * 50_000 + b"L\n",
        b"F1.5\n",
        b"\x8b" + struct.pack("<i", 10**6) + bytes(10**6),
        b"\x97",  # out-of-band buffer
    ],
)
def test_instructions_that_weights_do_not_use_are_refused(tmp_path: Path, value: bytes) -> None:
    assert "instruction" in refusal(write(tmp_path / "x.pkl", tz.program(value, 4)))


@pytest.mark.parametrize(
    "value",
    [
        b"X" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + struct.pack("<Q", 2**63),
        b"B" + struct.pack("<I", 2**32 - 1),
        b"\x8e" + struct.pack("<Q", 2**62),
        b"\x8e" + struct.pack("<Q", 2**64 - 1),
        b"\x96" + struct.pack("<Q", 2**62),
        b"Nr" + struct.pack("<I", 2**32 - 1),
        b"j" + struct.pack("<I", 2**31),
        b"c" + b"x" * 5000,
        b"K\x01K\x02a",
        b"a",
        b"t",
        b"(((u",
        b"}(K\x01u",
        b"Nb",
        b"K\x01Nb",
        b"K\x01)R",
        b"ccollections\nOrderedDict\nK\x01R",
        b"ccollections\nOrderedDict\nK\x01\x85R",
        b"K\x01Q",
        b"K\x01K\x02\x93",
        b"X\x01\x00\x00\x00\xff",
        b"\x80\x09",
        b"]",
        b"K\x01",
        b"}",
    ],
)
def test_damaged_and_lying_pickles_are_refused_without_memory(tmp_path: Path, value: bytes) -> None:
    path = write(tmp_path / "x.pkl", tz.program(value, 4))
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        b"]" * 200_000 + b"a" * 199_999,
        b")" + b"\x85" * 300_000,
        b"}" + b"N" + b"}N" * 100_000 + b"s" * 100_000,
        b"}" + b")" + b"\x85" * 300_000 + b"Ns",
        b"cargparse\nNamespace\n)R" * 50_000 + b"b" * 49_999,
        b"cargparse\nNamespace\n)R" + b"2b" * 10_000,
    ],
    ids=["lists", "tuples", "maps", "tuple as key", "objects", "object in itself"],
)
@pytest.mark.parametrize("container", ["zip", "legacy", "plain"])
def test_deep_nesting_is_refused_without_recursion(
    tmp_path: Path, value: bytes, container: str
) -> None:
    refusal(write(tmp_path / "x.pkl", containers(value)[container]))


def _module(tensors: dict[str, bytes], modules: bytes) -> bytes:
    """A pickled torch module with its maps of parameters and modules."""
    state = tz.mapping({"_parameters": tz.mapping(tensors), "_modules": modules})
    return tz.call("torch.nn.modules.container", "Sequential") + state + b"b"


def test_modules_nested_in_themselves_are_refused(tmp_path: Path) -> None:
    inner = tz.call("torch.nn.modules.container", "Sequential") + b"q\x00"
    state = b"}(" + tz.text("_modules") + b"}(" + tz.text("me") + b"h\x00uub"
    assert "deeper" in refusal(write(tmp_path / "x.pt", tz.archive(tz.program(inner + state), {})))


def test_modules_that_multiply_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_tree, "MAX_MODULES", 5000)
    value = _module({}, b"}")
    for level in range(30):  # each level holds the one below it twice: 2 ** 30 modules
        key = bytes([level])
        twice = b"}(" + tz.text("a") + b"h" + key + tz.text("b") + b"h" + key + b"u"
        value = value + b"q" + key + b"0" + _module({}, twice)
    started = time.perf_counter()
    assert "more than 5000" in refusal(write(tmp_path / "x.pt", tz.archive(tz.program(value), {})))
    assert time.perf_counter() - started < 5


def test_whole_modules_become_flat_names(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    w = tz.tensor(tz.storage("0", "FloatStorage", 6), (2, 3))
    parameter = tz.call("torch._utils", "_rebuild_parameter", w, b"\x88", b"}")
    conv = tz.name("dall_e.utils", "Conv2d") + b")\x81" + tz.mapping(
        {"_parameters": tz.mapping({"w": parameter, "b": b"N"}), "_modules": b"}"}
    ) + b"b"  # fmt: skip
    value = _module({}, tz.mapping({"blocks": _module({}, tz.mapping({"input": conv}))}))
    path = write(tmp_path / "x.pkl", tz.archive(tz.program(value), {"0": weight.tobytes()}))
    with open_checkpoint(path) as file:
        assert list(file.tensors) == ["blocks.input.w"]
        np.testing.assert_array_equal(file.read("blocks.input.w"), weight)


@pytest.mark.parametrize("nest", [["state_dict"], ["model"], ["state_dict", "model"], []])
def test_weights_are_found_wherever_programs_put_them(tmp_path: Path, nest: list[str]) -> None:
    entries, records = tz.state_dict({"w": np.ones(2, np.float32), "step": np.array(5)})
    value = tz.ordered({"w": entries["w"]})
    for key in reversed(nest):
        value = tz.mapping({"step": entries["step"], key: value, "empty": b"}"})
    path = write(tmp_path / "x.pt", tz.archive(tz.program(value), records))
    with open_checkpoint(path) as file:
        assert list(file.tensors) == ["w"]


def test_a_map_that_holds_itself_is_refused(tmp_path: Path) -> None:
    value = b"}q\x00(" + tz.text("model") + b"h\x00" + tz.text("state_dict") + b"h\x00u"
    assert "no tensors" in refusal(write(tmp_path / "x.pkl", tz.program(value, 4)))


def test_endless_pickles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 1000)
    value = b"(" + b"N0" * 2000 + b"t"
    assert "more than 1000" in refusal(write(tmp_path / "x.pkl", tz.program(value, 4)))


def test_two_storages_of_one_name_are_refused(tmp_path: Path) -> None:
    entries = {
        "a": tz.tensor(tz.storage("0", "FloatStorage", 2), [2]),
        "b": tz.tensor(tz.storage("0", "LongStorage", 1), [1]),
    }
    data = tz.archive(tz.program(tz.mapping(entries)), {"0": bytes(8)})
    assert "two different storages" in refusal(write(tmp_path / "x.pt", data))


def test_a_legacy_file_whose_storages_lie_is_refused(tmp_path: Path) -> None:
    data = tz.legacy_file({"t": np.arange(4, dtype=np.float32)})
    at = len(data) - 16 - 8
    for count in (-1, 0, 3, 5, 2**62):
        lying = data[:at] + struct.pack("<q", count) + data[at + 8 :]
        refusal(write(tmp_path / "x.pt", lying))


def test_things_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    one = tz.tensor(tz.storage("0", "FloatStorage", 2), [2])
    for value in (one, b"](" + one + b"e", b"N", tz.mapping({"a": b"N"})):
        refusal(write(tmp_path / "x.pt", tz.archive(tz.program(value), {"0": bytes(8)})))


@settings(max_examples=100)
@given(st.lists(st.sampled_from([bytes([i]) for i in range(256)]), max_size=60))
def test_any_sequence_of_instructions_ends_in_a_checkpoint_error(
    tmp_path_factory: pytest.TempPathFactory, body: list[bytes]
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "x.pkl", b"\x80\x04" + b"".join(body) + b".")
    with pytest.raises(CheckpointError):
        open_checkpoint(path)


FRAGMENTS = [
    b"N", b"\x88", b"K\x05", b"(", b"t", b")", b"\x85", b"\x86", b"]", b"}", b"a", b"e", b"s", b"u",
    b"R", b"b", b"\x81", b"Q", b"0", b"2", b"q\x01", b"h\x01", b"\x94", b"\x91", b"\x8f", b"\x90",
    b"X\x01\x00\x00\x00a", b"X\x07\x00\x00\x00storage", b"C\x02ab", b"\x93", b"\x92",
    b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"cmegengine.tensor\nTensor\n",
    b"cargparse\nNamespace\n", b"ctorch._utils\n_rebuild_parameter\n",
]  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_any_mixture_of_known_instructions_ends_in_a_checkpoint_error(
    tmp_path_factory: pytest.TempPathFactory, body: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "y.pkl"
    for data in containers(b"".join(body)).values():
        with pytest.raises(CheckpointError):
            open_checkpoint(write(path, data))


SCRIPT = """
import os, pathlib, sys, torch
folder = pathlib.Path(sys.argv[1])
class Payload:
    def __reduce__(self):
        return os.system, (f"touch {folder / 'ran'}",)
for new in (True, False):
    path = folder / f"evil{new}.pt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": Payload()}, path,
               _use_new_zipfile_serialization=new)
    try:
        torch.load(path, weights_only=True)
    except Exception as error:
        print(type(error).__name__)
print(torch.serialization.get_unsafe_globals_in_checkpoint(folder / "evilTrue.pt"))
"""


@pytest.mark.slow
def test_what_pytorch_deems_unsafe_is_refused_here_too(tmp_path: Path) -> None:
    reference_python()
    script = write(tmp_path / "script.py", SCRIPT.encode())
    printed = run_reference(script, tmp_path)
    assert printed.count("UnpicklingError") == 2
    assert "system" in printed
    for name in ("evilTrue.pt", "evilFalse.pt"):
        assert ".system" in refusal(tmp_path / name)
    assert not (tmp_path / "ran").exists()

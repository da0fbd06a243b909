"""Reading and writing checkpoints: formats, dtypes, layouts in memory, and lies about sizes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import megengine as mge
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from official.multimodal.taming_transformer import safetensors_file
from official.multimodal.taming_transformer.checkpoint import (
    TensorFile,
    TensorInfo,
    open_checkpoint,
    write_safetensors,
    write_stream,
)
from official.multimodal.taming_transformer.errors import CheckpointError

from . import torch_zip as tz
from .reference_env import ROOT, reference_python, run_reference

RECORDED = Path(__file__).parent / "data" / "checkpoints"
DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    named = {f"of.{d}": (rng.standard_normal((3, 5)) * 50).astype(d) for d in DTYPES}
    return {**named, "scalar": np.array(2.5, np.float32), "empty": np.zeros((0, 4), np.float32)}


class Peak:
    """Most memory that was taken inside a ``with`` block, in bytes."""

    def __enter__(self) -> Peak:
        self.bytes = 0
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read_all(path: Path) -> dict[str, np.ndarray]:
    with open_checkpoint(path) as file:
        return {name: file.read(name, verify=True) for name in file.tensors}


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].flags.c_contiguous, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def refusal(path: Path) -> str:
    """Open a file that must be refused; return the message, which must be one line naming it."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message.replace(str(path), "")  # its folder is named after the test


@pytest.fixture(params=["torch", "torch nested", "legacy", "megengine", "safetensors"])
def any_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same arrays in a file of every format, under a name that says nothing."""
    path = tmp_path / "file.bin"
    if request.param == "torch":
        return write(path, tz.torch_file(arrays()))
    if request.param == "torch nested":
        return write(path, tz.torch_file(arrays(), nest="state_dict"))
    if request.param == "legacy":
        return write(path, tz.legacy_file(arrays()))
    if request.param == "megengine":
        mge.save(OrderedDict(arrays()), str(path))
        return path
    from safetensors.numpy import save_file

    save_file(arrays(), str(path))
    return path


def test_every_format_gives_the_same_arrays(any_file: Path) -> None:
    assert_same(read_all(any_file), arrays())


def test_a_tensor_has_its_own_writable_memory(any_file: Path) -> None:
    with open_checkpoint(any_file) as file:
        first, second = file.read("of.float32"), file.read("of.float32")
        first += 1
        assert first.flags.owndata or first.base is None or first.base.flags.owndata
        np.testing.assert_array_equal(second, arrays()["of.float32"])


def test_reading_converts_to_the_dtype_asked_for(
    any_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("official.multimodal.taming_transformer.tensor_file.CHUNK", 4)
    with open_checkpoint(any_file) as file:
        for name, array in arrays().items():
            np.testing.assert_array_equal(file.read(name, "float32"), array.astype("float32"))


def test_read_into_fills_the_array_that_is_given(any_file: Path) -> None:
    out = np.full((3, 5), np.nan, np.float32)
    with open_checkpoint(any_file) as file:
        file.read_into("of.float16", out)
        with pytest.raises(ValueError, match="shape"):
            file.read_into("of.float16", out.T)
    np.testing.assert_array_equal(out, arrays()["of.float16"])


@pytest.mark.parametrize("system", ["this", "without preadv"])
def test_threads_read_from_one_file_at_once(
    any_file: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "without preadv":
        monkeypatch.delattr(os, "preadv")
    monkeypatch.setattr("official.multimodal.taming_transformer.tensor_file.CHUNK", 2)
    with open_checkpoint(any_file) as file, ThreadPoolExecutor(4) as pool:
        names = list(arrays()) * 50
        for name, found in zip(names, pool.map(file.read, names)):
            np.testing.assert_array_equal(found, arrays()[name])


def test_an_unknown_tensor_is_named(any_file: Path) -> None:
    with open_checkpoint(any_file) as file, pytest.raises(CheckpointError, match=r"'nothing'"):
        file.read("nothing")


def test_the_format_is_decided_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors", tz.torch_file(arrays()))
    with open_checkpoint(path) as file:
        assert file.format == "torch"


def test_every_cut_of_every_format_is_refused(any_file: Path, tmp_path: Path) -> None:
    data = any_file.read_bytes()
    for length in sorted({*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}):
        path = write(tmp_path / "cut", data[:length])
        with pytest.raises(CheckpointError):
            read_all(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_nothing_but_checkpoint_errors(any_file: Path, data: Any) -> None:
    content = bytearray(any_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers and directories lie at the ends: most of the damage goes there.
        end = data.draw(st.sampled_from([64, 700, len(content)]))
        at = data.draw(st.integers(0, end - 1))
        at = at if data.draw(st.booleans()) else len(content) - 1 - at
        content[max(0, at)] = data.draw(st.integers(0, 255))
    path = write(any_file.with_name("damaged"), bytes(content))
    with Peak() as peak, contextlib.suppress(CheckpointError):
        read_all(path)
    assert peak.bytes < 16 << 20


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for head in (b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", struct.pack("<Q", 20) + b"{"):
        with pytest.raises(CheckpointError):
            read_all(write(folder / "noise", head + noise))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        open_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(FileNotFoundError, match="file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"\x1f\x8b" + bytes(50), "compressed"),
        (bytes(257) + b"ustar" + bytes(250), "tar"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "neither"),
    ],
)
def test_other_files_are_called_by_their_name(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(write(tmp_path / "x.ckpt", content))


@pytest.mark.parametrize("name", ["flat", "legacy", "lightning", "omegaconf", "module"])
def test_what_pytorch_wrote_reads_as_pytorch_reads_it(name: str) -> None:
    with np.load(RECORDED / f"{name}.npz") as wanted:
        assert_same(read_all(RECORDED / f"{name}.pt"), dict(wanted))


def test_a_training_checkpoint_tells_what_lies_beside_its_weights() -> None:
    with open_checkpoint(RECORDED / "lightning.pt") as file:
        assert file.metadata["global_step"] == "77"
        assert {"optimizer_states", "callbacks", "hyper_parameters"} <= set(file.skipped)


@pytest.mark.slow
def test_everything_that_pytorch_writes_reads_as_pytorch_reads_it(tmp_path: Path) -> None:
    reference_python()
    run_reference(ROOT / "tests" / "reference" / "record_checkpoints.py", tmp_path)
    files = sorted(tmp_path.glob("*.pt"))
    assert len(files) >= 9
    for path in files:
        with np.load(path.with_suffix(".npz")) as wanted:
            assert_same(read_all(path), dict(wanted))


def test_megengine_tensors_and_parameters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    values = {"tensor": mge.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))}
    values["parameter"] = mge.Parameter(np.ones(3, np.float32))
    mge.save({"state_dict": values, "epoch": 4}, str(path))
    found = read_all(path)
    assert_same(found, {key: value.numpy() for key, value in values.items()})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_numpy_arrays_are_read_whatever_the_protocol(
    tmp_path: Path, protocol: int
) -> None:
    order = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    long = np.arange(1000, dtype=np.float64)
    value = pickle.dumps({"order": order, "long": long}, protocol=protocol)
    path = write(tmp_path / "a.pkl", value)
    if protocol == 2:  # numpy's bytes become text there, which no weights use
        assert "protocol 4" in refusal(path)
        return
    assert_same(read_all(path), {"order": order, "long": long})


def _header(**changes: Any) -> dict[str, Any]:
    row = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return {"t": {**row, **changes}}


@pytest.mark.parametrize(
    "header",
    [
        _header(shape=[3]),
        _header(shape=[2**62, 4]),
        _header(shape=[-2]),
        _header(shape=[2.0]),
        _header(shape=[True, 2]),
        _header(shape=[1] * 40),
        _header(shape="2"),
        _header(data_offsets=[0, 12]),
        _header(data_offsets=[4, 8]),
        _header(data_offsets=[8, 0]),
        _header(data_offsets=[0]),
        _header(data_offsets=[2**63, 2**63 + 8]),
        _header(dtype="F8_E4M3"),
        _header(dtype="O"),
        _header(dtype=["F32"]),
        _header(more=1),
        {"t": {"dtype": "F32"}},
        {"t": []},
        {"__metadata__": {"a": 1}, **_header()},
        {**_header(), "u": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {},
        [],
        b'{"t": NaN}',
        b'{"t": 1e400}',
        b'{"t": ' + b"9" * 10_000 + b"}",
        b'{"t": ' + b"[" * 100_000,
        b'{"t": {}, "t": {}}',
        b"{\xff}",
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_lying_safetensors_header_is_refused(tmp_path: Path, header: Any) -> None:
    refusal(write(tmp_path / "x.safetensors", tz.safetensors_file(header, bytes(8))))


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10_000, 17 << 20])
def test_a_lying_safetensors_header_length_takes_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", length) + b'{"t": 1}')
        file.truncate(20 << 20 if length == 17 << 20 else 100)
    with Peak() as peak:
        refusal(path)
    assert peak.bytes < 1 << 20


def test_trailing_bytes_after_the_tensors_are_refused(tmp_path: Path) -> None:
    refusal(write(tmp_path / "x.safetensors", tz.safetensors_file(_header(), bytes(9))))


def _lying(case: str) -> bytes:
    """A PyTorch file of 8 numbers that tells one lie."""
    data = {"0": np.arange(8, dtype=np.float32).tobytes()}
    store = tz.storage("0", "FloatStorage", 8)
    pickles: dict[str, Callable[[], bytes]] = {
        "longer than its storage": lambda: tz.tensor(store, [9]),
        "offset beyond the storage": lambda: tz.tensor(store, [8], offset=1),
        "stride beyond the storage": lambda: tz.tensor(store, [2, 2], [7, 2]),
        "negative stride": lambda: tz.tensor(store, [8], [-1]),
        "negative size": lambda: tz.tensor(store, [-8]),
        "negative offset": lambda: tz.tensor(store, [2], offset=-1),
        "fewer strides than sizes": lambda: tz.tensor(store, [2, 4], [4]),
        "repeated for ever": lambda: tz.tensor(store, [2**40, 2**40], [0, 0]),
        "repeated a lot": lambda: tz.tensor(store, [10**9], [0]),
        "huge": lambda: tz.tensor(store, [2**62, 2**62]),
        "40 axes": lambda: tz.tensor(store, [1] * 40),
        "storage larger than its bytes": lambda: tz.tensor(
            tz.storage("0", "FloatStorage", 10**12), [10**12]
        ),
        "storage smaller than its bytes": lambda: tz.tensor(
            tz.storage("0", "FloatStorage", 4), [4]
        ),
        "storage of another type": lambda: tz.tensor(tz.storage("0", "DoubleStorage", 8), [8]),
        "storage without bytes": lambda: tz.tensor(tz.storage("1", "FloatStorage", 8), [8]),
        "storage in another folder": lambda: tz.tensor(
            tz.storage("../../0", "FloatStorage", 8), [8]
        ),
        "unknown storage": lambda: tz.tensor(tz.storage("0", "QInt8Storage", 8), [8]),
        "shape of texts": lambda: tz.call(
            "torch._utils", "_rebuild_tensor_v2", store, tz.number(0), tz.group(tz.text("8")),
            tz.group(tz.text("1")),
        ),
        "no storage": lambda: tz.tensor(tz.number(1), [8]),
        "too few arguments": lambda: tz.call("torch._utils", "_rebuild_tensor_v2", store),
        "deep shape": lambda: tz.call(
            "torch._utils", "_rebuild_tensor_v2", store, tz.number(0),
            tz.group(b"]" + b"\x85" * 100_000), tz.group(tz.number(1)),
        ),
    }  # fmt: skip
    return tz.archive(tz.program(tz.mapping({"t": pickles[case]()})), data)


@pytest.mark.parametrize(
    "case",
    [
        "longer than its storage", "offset beyond the storage", "stride beyond the storage",
        "negative stride", "negative size", "negative offset", "fewer strides than sizes",
        "repeated for ever", "repeated a lot", "huge", "40 axes", "storage larger than its bytes",
        "storage smaller than its bytes",
        "storage of another type", "storage without bytes", "storage in another folder",
        "unknown storage", "shape of texts", "no storage", "too few arguments", "deep shape",
    ],
)  # fmt: skip
def test_a_tensor_that_lies_is_refused_before_memory_is_taken(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "x.pt", _lying(case))
    with Peak() as peak:
        refusal(path)
    assert peak.bytes < 8 << 20


def test_a_small_broadcast_view_is_read(tmp_path: Path) -> None:
    store = tz.storage("0", "FloatStorage", 2)
    value = tz.mapping({"t": tz.tensor(store, [3, 2], [0, 1])})
    data = tz.archive(tz.program(value), {"0": np.array([1, 2], np.float32).tobytes()})
    found = read_all(write(tmp_path / "x.pt", data))
    np.testing.assert_array_equal(found["t"], [[1, 2]] * 3)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    big = bytes(50 << 20)
    value = tz.mapping({"t": tz.tensor(tz.storage("0", "ByteStorage", len(big)), [len(big)])})
    data = tz.archive(tz.program(value), {"0": big}, method=zipfile.ZIP_DEFLATED)
    path = write(tmp_path / "bomb.pt", data)
    assert len(data) < 100_000
    with Peak() as peak:
        assert "compressed" in refusal(path)
    assert peak.bytes < 1 << 20


def _patched(data: bytes, magic: bytes, offset: int, layout: str, value: int) -> bytes:
    at = data.rfind(magic) + offset
    return data[:at] + struct.pack(layout, value) + data[at + struct.calcsize(layout) :]


@pytest.mark.parametrize(
    ("magic", "offset", "layout", "value"),
    [
        (b"PK\x05\x06", 10, "<H", 60_000),
        (b"PK\x05\x06", 12, "<I", 2**31),
        (b"PK\x05\x06", 16, "<I", 2**31),
        (b"PK\x05\x06", 16, "<I", 2**32 - 1),
        (b"PK\x05\x06", 4, "<H", 3),
        (b"PK\x01\x02", 20, "<I", 2**31),
        (b"PK\x01\x02", 24, "<I", 2**31),
        (b"PK\x01\x02", 28, "<H", 65_535),
        (b"PK\x01\x02", 8, "<H", 1),
    ],
)
def test_a_zip_directory_that_lies_is_refused(
    tmp_path: Path, magic: bytes, offset: int, layout: str, value: int
) -> None:
    data = tz.torch_file({"t": np.arange(8, dtype=np.float32)})
    damaged = _patched(data, magic, offset, layout, value)
    with Peak() as peak:
        refusal(write(tmp_path / "x.pt", damaged))
    assert peak.bytes < 1 << 20


def test_archives_with_64_bit_directories_are_read(tmp_path: Path) -> None:
    value = {"t": np.arange(8, dtype=np.float32)}
    path = write(tmp_path / "x.pt", tz.as_zip64(tz.torch_file(value)))
    assert_same(read_all(path), value)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None


@pytest.mark.parametrize("offset", [8, 40, 48])
def test_a_64_bit_directory_that_lies_is_refused(tmp_path: Path, offset: int) -> None:
    data = tz.as_zip64(tz.torch_file({"t": np.arange(8, dtype=np.float32)}))
    magic = b"PK\x06\x07" if offset == 8 else b"PK\x06\x06"
    for value in (2**32, 2**63, 2**64 - 1):
        refusal(write(tmp_path / "x.pt", _patched(data, magic, offset, "<Q", value)))


def test_a_64_bit_record_that_lies_is_refused(tmp_path: Path) -> None:
    data = tz.as_zip64(tz.torch_file({"t": np.arange(8, dtype=np.float32)}))
    first = data.find(b"PK\x01\x02")
    at = data.find(struct.pack("<2H", 1, 24), first) + 4
    for field in range(3):
        for value in (2**32, 2**63, 2**64 - 1):
            place = at + 8 * field
            lying = data[:place] + struct.pack("<Q", value) + data[place + 8 :]
            refusal(write(tmp_path / "x.pt", lying))


def test_archives_that_are_no_checkpoint_say_so(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("folder/model.ckpt", b"x")
    assert "unpack it first" in refusal(path)


def test_programs_and_foreign_byte_orders_are_refused(tmp_path: Path) -> None:
    entries, records = tz.state_dict({"t": np.zeros(2, np.float32)})
    pickle_ = tz.program(tz.ordered(entries))
    script = tz.archive(pickle_, records, extra={"constants.pkl": b"\x80\x02).", "code/a.py": b""})
    assert "carries code" in refusal(write(tmp_path / "script.pt", script))
    swapped = tz.archive(pickle_, records, extra={"byteorder": b"big"})
    assert "byte order" in refusal(write(tmp_path / "big.pt", swapped))
    numpy_ = pickle.dumps({"t": np.zeros(2, ">f4")}, protocol=4)
    assert "little-endian" in refusal(write(tmp_path / "big.pkl", numpy_))


def test_a_damaged_tensor_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    value = np.arange(1000, dtype=np.float32)
    data = bytearray(tz.torch_file({"t": value}))
    path = write(tmp_path / "x.pt", bytes(data))
    with open_checkpoint(path) as file:
        np.testing.assert_array_equal(file.read("t", "float64", verify=True), value)
    data[data.find(value.tobytes()) + 5] ^= 1
    with open_checkpoint(write(path, bytes(data))) as file:
        file.read("t")
        with pytest.raises(CheckpointError, match="damaged in tensor 't'"):
            file.read("t", verify=True)


def test_a_file_that_shrinks_while_it_is_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_safetensors(path, {"t": np.zeros(100_000, np.float32)})
    with open_checkpoint(path) as file, path.open("r+b") as other:
        other.truncate(200_000)
        with pytest.raises(CheckpointError, match="ends inside tensor 't'"):
            file.read("t")


def test_opening_reads_no_tensor(tmp_path: Path) -> None:
    size = 40 << 20
    big = {"t": np.zeros(size // 4, np.float32)}
    paths = [write(tmp_path / "x.pt", tz.torch_file(big)), tmp_path / "x.pkl", tmp_path / "x.st"]
    mge.save(big, str(paths[1]))
    write_safetensors(paths[2], big)
    for path in paths:
        with Peak() as peak, open_checkpoint(path):
            pass
        assert peak.bytes < 1 << 20
        with Peak() as peak, open_checkpoint(path) as file:
            file.read("t")
        assert peak.bytes < 1.1 * size


def test_widening_takes_no_second_copy(tmp_path: Path) -> None:
    half = np.zeros(10 << 20, np.float16)
    write_safetensors(tmp_path / "x", {"t": half})
    with open_checkpoint(tmp_path / "x") as file, Peak() as peak:
        file.read("t", "float32")
    assert peak.bytes < 2.2 * half.nbytes


def test_written_files_are_what_the_safetensors_package_reads(tmp_path: Path) -> None:
    from safetensors import safe_open

    wanted = arrays()
    path = tmp_path / "w.safetensors"
    digest = write_safetensors(path, wanted, {"b": "2", "a": "é\n"})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with safe_open(str(path), framework="np") as file:
        assert file.metadata() == {"a": "é\n", "b": "2"}
        assert_same({name: file.get_tensor(name) for name in file.keys()}, wanted)  # noqa: SIM118
    assert_same(read_all(path), wanted)
    begin = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert begin % 8 == 0


@pytest.mark.parametrize("view", ["transposed", "strided", "reversed", "broadcast", "permuted"])
def test_any_memory_layout_is_written_in_order(tmp_path: Path, view: str) -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    array = {
        "transposed": base.T,
        "strided": base[:, ::2, 1::2],
        "reversed": base[::-1, :, ::-1],
        "broadcast": np.broadcast_to(base[:1], (5, 3, 4)),
        "permuted": base.transpose(2, 0, 1)[None],
    }[view]
    assert not array.flags.c_contiguous
    write_safetensors(tmp_path / "w", {"t": array})
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(str(tmp_path / "w"))["t"], array)


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    first = arrays()
    again = dict(reversed(list(first.items())))
    one = write_safetensors(tmp_path / "1", first, {"a": "1", "b": "2"})
    two = write_safetensors(tmp_path / "2", again, {"b": "2", "a": "1"})
    assert one == two
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"t": np.ones(3, np.float32)})
    before = path.read_bytes()
    infos = {name: TensorInfo((2,), "float32") for name in ("a", "b")}

    def broken(name: str) -> np.ndarray:
        if name == "b":
            raise OSError("the disk is full")
        return np.zeros(2, np.float32)

    with pytest.raises(OSError, match="disk is full"):
        write_stream(path, infos, broken)
    with pytest.raises(ValueError, match="announced"):
        write_stream(path, infos, lambda name: np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="complex64"):
        write_safetensors(path, {"t": np.zeros(3, np.complex64)})
    monkeypatch.setattr(safetensors_file.os, "replace", lambda *_: broken("b"))
    with pytest.raises(OSError, match="disk is full"):
        write_safetensors(path, {"t": np.zeros(3, np.float32)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_stream_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    size = 4 << 20
    infos = {f"t{i}": TensorInfo((size // 4,), "float32") for i in range(10)}
    with Peak() as peak:
        write_stream(tmp_path / "w", infos, lambda name: np.zeros(size // 4, np.float32))
    assert peak.bytes < 2.5 * size


def test_the_header_of_a_written_file_is_plain_json(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w", {"t": np.zeros((2, 3), np.float16)})
    data = (tmp_path / "w").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    assert header == {"t": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}


def test_a_closed_file_is_closed(any_file: Path) -> None:
    with open_checkpoint(any_file) as file:
        assert isinstance(file, TensorFile)
    with pytest.raises(ValueError, match="closed"):
        file.read("of.float32")

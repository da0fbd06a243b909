import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from official.multimodal.taming_transformer.classes import resolve_labels
from official.multimodal.taming_transformer.manifest import weights_sha256, write_whole
from official.multimodal.taming_transformer.npz import write_npz
from official.multimodal.taming_transformer.runs import check_shard, open_run
from official.multimodal.taming_transformer.schedule import Batch, Schedule
from tests.tiny import tiny_gpt

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = {"top_k": 100, "model": {"layers": 2, "width": 8}, "seed": 1, "labels": [1, 2]}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(root: Path, files=None, **options) -> None:
    with open_run(root, options.pop("parameters", PARAMETERS), **options) as run:
        run.write(files or {})


def test_files_are_written_and_recorded_as_sha256sum_does(tmp_path):
    write(tmp_path / "new" / "run", {"a.png": b"a", "7/b.png": b"b"})
    root = tmp_path / "new" / "run"
    assert set(files_of(root)) == {"a.png", "7/b.png", "run.json", "run.0-of-1.sha256"}
    ledger = (root / "run.0-of-1.sha256").read_text()
    assert ledger == "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (("a.png", b"a"), ("7/b.png", b"b"))
    )


def test_only_recorded_and_unchanged_files_count(tmp_path):
    write(tmp_path, {"whole": b"1", "short": b"12", "gone": b"1", "other": b"1"})
    (tmp_path / "short").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"2")
    (tmp_path / "gone").unlink()
    (tmp_path / "stranger").write_bytes(b"1")
    with open_run(tmp_path, PARAMETERS) as run:
        names = ["whole", "short", "gone", "other", "stranger"]
        assert [run.is_whole(name) for name in names] == [True, False, False, False, False]


def test_every_torn_ledger_is_read_and_mended(tmp_path):
    files = {f"{i}.png": bytes([i]) for i in range(3)}
    write(tmp_path, files)
    ledger = tmp_path / "run.0-of-1.sha256"
    whole = ledger.read_bytes()
    for length in range(0, len(whole) + 1, 3):
        ledger.write_bytes(whole[:length])
        with open_run(tmp_path, PARAMETERS) as run:
            lines = whole[:length].count(b"\n")
            found = [run.is_whole(name) for name in files]
            # a line that lacks its end alone is a line
            assert found[:lines] == [True] * lines
            assert not any(found[lines + 1 :])
            run.write(files)
        with open_run(tmp_path, PARAMETERS) as run:
            assert all(run.is_whole(name) for name in files)


def test_finishing_twice_changes_nothing(tmp_path):
    files = {"a.png": b"a", "7/b.png": b"b"}
    write(tmp_path, files)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    write(tmp_path, files)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_other_parameters_are_refused_in_one_line_with_the_difference(tmp_path):
    write(tmp_path)
    before = files_of(tmp_path)
    other = {**PARAMETERS, "top_k": 99, "model": {"layers": 3, "width": 8}, "labels": [1]}
    with pytest.raises(ValueError, match="begun with other settings") as error:
        write(tmp_path, {"a": b"a"}, parameters=other)
    message = str(error.value)
    assert "top_k was 100, now 99" in message
    assert "model.layers was 2, now 3" in message
    assert "labels was [1, 2], now [1]" in message
    assert "width" not in message
    assert "\n" not in message
    assert files_of(tmp_path) == before


def test_a_new_and_a_missing_parameter_are_differences_too(tmp_path):
    write(tmp_path, parameters={"a": 1})
    with pytest.raises(ValueError, match="a was 1, now absent, b was absent, now null"):
        write(tmp_path, parameters={"b": None})


def test_many_differences_are_counted(tmp_path):
    write(tmp_path, parameters={str(i): 0 for i in range(9)})
    with pytest.raises(ValueError, match="4 was 0, now 1 and 4 more;"):
        write(tmp_path, parameters={str(i): 1 for i in range(9)})


def test_a_value_that_nobody_gave_is_adopted(tmp_path):
    write(tmp_path)
    with open_run(tmp_path, {**PARAMETERS, "seed": 2}, adopt=["seed"]) as run:
        assert run.parameters["seed"] == 1
    with pytest.raises(ValueError, match="seed was 1, now 2"):
        write(tmp_path, parameters={**PARAMETERS, "seed": 2})


def test_another_machine_is_warned_of(tmp_path, caplog):
    write(tmp_path, about={"device": "cpu0"})
    write(tmp_path, about={"device": "cpu0"})
    assert not caplog.records
    write(tmp_path, about={"device": "gpu0"})
    assert 'device was "cpu0", now "gpu0"' in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"parameters": 1, "about": {}}', b"\xff"])
def test_a_damaged_manifest_is_named_and_kept(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json' is no manifest"):
        write(tmp_path, {"a": b"a"})
    assert files_of(tmp_path) == {"run.json": content}


def test_files_of_somebody_else_are_not_overwritten(tmp_path):
    (tmp_path / "000003.png").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"000003\.png' exists"):
        write(tmp_path, claims=[f"{i:06}.png" for i in range(9)])
    assert files_of(tmp_path) == {"000003.png": b"precious"}


def test_runs_with_other_prefixes_share_a_folder(tmp_path):
    write(tmp_path, {"a.png": b"1"})
    write(tmp_path, {"[x]_a.png": b"2"}, prefix="[x]_", parameters={"top_k": 1})
    with open_run(tmp_path, {"top_k": 1}, prefix="[x]_") as run:
        assert run.is_whole("[x]_a.png")
        assert not run.is_whole("a.png")


def test_shards_see_each_others_files(tmp_path):
    write(tmp_path, {"a.png": b"1"}, shard=(2, 7))
    with open_run(tmp_path, PARAMETERS, shard=(0, 7)) as run:
        assert run.is_whole("a.png")
        write(tmp_path, {"b.png": b"1"}, shard=(1, 7))
        assert not run.is_whole("b.png")
        run.reload()
        assert run.is_whole("b.png")


@pytest.mark.parametrize(("one", "two"), [((0, 1), (0, 1)), ((2, 7), (2, 7)), ((0, 1), (2, 7))])
def test_two_at_the_same_files_are_kept_apart(tmp_path, one, two):
    busy = pytest.raises(RuntimeError, match="another process is at work")
    with open_run(tmp_path, PARAMETERS, shard=one), busy:
        write(tmp_path, shard=two)
    write(tmp_path, {"a": b"a"}, shard=two)
    assert not list(tmp_path.glob("*.lock"))


def test_other_shards_of_the_same_division_may_work(tmp_path):
    with open_run(tmp_path, PARAMETERS, shard=(0, 2)):
        write(tmp_path, {"a": b"a"}, shard=(1, 2))


def test_a_killed_process_leaves_no_lock(tmp_path):
    program = (
        "import sys, os, signal; from official.multimodal.taming_transformer.runs import open_run\n"
        "with open_run(sys.argv[1], {'seed': 1}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False)
    assert process.returncode == -9
    assert (tmp_path / "run.0-of-1.lock").exists()
    write(tmp_path, {"a": b"a"}, parameters={"seed": 1}, shard=(0, 3))
    assert not list(tmp_path.glob("*.lock"))


def test_a_root_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"cannot write in .*file") as error:
            write(root)
        assert "choose another" in str(error.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_the_cure_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(data)

    write(tmp_path, {"a.png": b"1"})
    before = files_of(tmp_path)
    with open_run(tmp_path, PARAMETERS) as run:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(OSError, match=r"No space left.*make the same call again") as error:
                run.write({"b.png": b"2"})
        assert error.value.errno == 28
    assert files_of(tmp_path) == before


def test_write_whole_takes_over_what_a_kill_left(tmp_path):
    (tmp_path / ".a.png.part").write_bytes(b"half of something else")
    write_whole(tmp_path / "a.png", b"new")
    assert files_of(tmp_path) == {"a.png": b"new"}


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0), (0,), (0.0, 1), "12", 3, (True, 2)])
def test_bad_shards_are_refused(shard):
    with pytest.raises(ValueError, match="shard"):
        check_shard(shard)


def test_good_shards_pass():
    assert [check_shard(s) for s in (None, (2, 7), [0, 1])] == [(0, 1), (2, 7), (0, 1)]


def test_weights_hash_sees_every_value_and_keeps_still():
    one, same = tiny_gpt(), tiny_gpt()
    assert weights_sha256(one) == weights_sha256(same) == weights_sha256(one)
    bias = same.blocks[1].mlp[2].bias
    changed = bias.numpy().copy()
    changed[-1] = np.nextafter(changed[-1], np.float32(9))
    bias[...] = changed
    assert weights_sha256(one) != weights_sha256(same)


def test_npz_holds_pictures_and_labels_as_savez_does(tmp_path):
    pictures = np.random.RandomState(0).randint(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    labels = np.array([3, 3, 3, 1, 1])
    write_npz(tmp_path / "ours.npz", iter(pictures), pictures.shape, labels)
    np.savez(tmp_path / "savez.npz", pictures, labels)
    with np.load(tmp_path / "ours.npz") as ours, np.load(tmp_path / "savez.npz") as savez:
        assert sorted(ours) == sorted(savez) == ["arr_0", "arr_1"]
        for key in savez:
            assert ours[key].dtype == savez[key].dtype
            np.testing.assert_array_equal(ours[key], savez[key])
    with zipfile.ZipFile(tmp_path / "ours.npz") as archive:
        assert archive.testzip() is None
    write_npz(tmp_path / "again.npz", iter(pictures), pictures.shape, labels)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "ours.npz").read_bytes()


@pytest.mark.parametrize("count", [4, 6])
def test_npz_of_a_wrong_number_of_pictures_is_not_left_behind(tmp_path, count):
    with pytest.raises(ValueError, match=f"got {count} pictures, expected 5"):
        write_npz(tmp_path / "a.npz", iter(np.zeros((count, 8, 6, 3), np.uint8)), (5, 8, 6, 3))
    with pytest.raises(ValueError, match=r"picture 0 is uint8 \(8, 6\)"):
        write_npz(tmp_path / "a.npz", iter(np.zeros((5, 8, 6), np.uint8)), (5, 8, 6, 3))
    assert not files_of(tmp_path)


NAMES = ["tench", "goldfish, Carassius auratus", "crane", "kite", "crane", "Great_White"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, (0, 1, 2, 3, 4, 5)),
        (3, (3,)),
        ([4, 0], (4, 0)),
        (range(2), (0, 1)),
        (np.array([1, 5]), (1, 5)),
        ("goldfish", (1,)),
        ("carassius  AURATUS", (1,)),
        ("goldfish, Carassius auratus", (1,)),
        ("great white", (5,)),
        (["kite", 0, "2"], (3, 0, 2)),
    ],
)
def test_classes_are_found_by_number_and_name(labels, expected):
    assert resolve_labels(labels, 6, NAMES) == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (6, r"class 6 is unknown: classes are 0\.\.5"),
        (-1, "class -1 is unknown"),
        ("7", "class 7 is unknown"),
        ("crane", r"'crane' names the classes \[2, 4\]"),
        ("fish", r"'fish' is unknown; similar: goldfish \(1\)"),
        ([1, "goldfish"], "class 1 is given twice"),
        ([], "class_labels is empty"),
    ],
)
def test_unknown_classes_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        resolve_labels(labels, 6, NAMES)


def test_names_need_to_be_known():
    with pytest.raises(ValueError, match="no names are known"):
        resolve_labels("kite", 6)
    with pytest.raises(ValueError, match="has 2 names, the model has 6 classes"):
        resolve_labels("kite", 6, ["kite", "crane"])
    assert resolve_labels("kite", 6, {4: "kite"}) == (4,)


@pytest.mark.parametrize("label", [1.0, True, None, [1], b"1"])
def test_a_class_is_a_number_or_a_name(label):
    with pytest.raises(TypeError, match="a class is a number or a name"):
        resolve_labels([label], 6)


def test_shards_share_out_every_picture_once():
    schedule = Schedule((4, 0, 2), num_samples=10, batch_size=4)
    whole = list(schedule.batches())
    assert [b.count for b in whole] == [4, 4, 2] * 3
    names = [name for b in whole for name in b.names("x_")]
    assert len(set(names)) == len(names) == schedule.pictures == 30
    assert names[0] == "4/x_000000.png"
    assert names[-1] == "2/x_000009.png"
    dealt = [list(schedule.batches((k, 7))) for k in range(7)]
    assert sorted((b for part in dealt for b in part), key=whole.index) == whole
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_a_picture_keeps_row_and_neighbours_whatever_else_is_asked_for():
    def where(schedule, label, number):
        for batch in schedule.batches():
            if batch.label == label and number in batch.numbers:
                return batch.samples
        raise AssertionError

    first = where(Schedule((4, 0), 10, 4), 4, 9)
    assert first == where(Schedule((4,), 50, 4), 4, 9) == range(4 * 2**32 + 8, 4 * 2**32 + 12)
    assert first == Schedule((1, 4), 3, 4).alone(9, 4).samples
    assert Batch(None, 8, 2, 4).samples == range(8, 12)
    assert Batch(None, 8, 2, 4).names() == ["000008.png", "000009.png"]


def test_the_manifest_is_json_for_people(tmp_path):
    write(tmp_path, about={"device": "cpu0"})
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text) == {"parameters": PARAMETERS, "about": {"device": "cpu0"}}
    assert "\n" in text.strip()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_under_the_ledger_names_it(tmp_path):
    with open_run(tmp_path, PARAMETERS) as run:
        (tmp_path / "run.0-of-1.sha256").symlink_to("/dev/full")
        with pytest.raises(OSError, match=r"sha256' \(No space left.*make the same call again"):
            run.record({"a.png": "0" * 64})

"""The trainer in PyTorch: same networks as the original's, runs that survive being killed."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.reference_env import ROOT, reference_python, run_reference

pytestmark = pytest.mark.slow

TRAIN = ROOT / "tools" / "train"
SIZES = "--size 32 --ch-mult 1 1 --z-channels 8 --levels 4 4 --batch 2".split()
PARITY = """
import sys
sys.path[:0] = [{train!r}, {root!r}]
from tests.reference import shim
shim.install()
import torch
from taming.models.vqgan import VQModel as Original
from taming.modules.transformer.mingpt import GPT as OriginalGPT
import gpt, nets

torch.manual_seed(0)
config = nets.VQGANConfig(32, (1, 2), 1, (16,), 8, 32, 3, 3, (4, 4))
dd = dict(double_z=False, z_channels=8, resolution=32, in_channels=3, out_ch=3, ch=32,
          ch_mult=[1, 2], num_res_blocks=1, attn_resolutions=[16], dropout=0.0)
loss = {{"target": "taming.modules.losses.vqperceptual.DummyLoss"}}
theirs = Original(dd, loss, 16, 2).eval()
ours = nets.VQModel(config).eval()
ours.load_state_dict(theirs.state_dict(), strict=True)
x = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    codes = ours.codes(x)
    assert torch.equal(codes.flatten(), theirs.encode(x)[2][2].flatten())
    # in float64, where no machine's rounding comes near the bound
    quantized = theirs.double().quantize.get_codebook_entry(codes.flatten(), (*codes.shape, 2))
    theirs_decoded = theirs.decode(quantized)
    assert torch.allclose(ours.double().decode_codes(codes), theirs_decoded, rtol=0, atol=1e-11)

theirs = OriginalGPT(20, 12, n_layer=2, n_head=2, n_embd=16).double().eval()
state = {{k: v for k, v in theirs.state_dict().items() if not k.endswith("attn.mask")}}
torch.nn.init.normal_(state["pos_emb"])
theirs.load_state_dict(state, strict=False)
ours = gpt.GPT(gpt.GPTConfig(20, 12, 2, 2, 16)).double().eval()
ours.load_state_dict(state, strict=True)
idx = torch.randint(20, (3, 12))
with torch.no_grad():
    whole = ours(idx)
    assert torch.allclose(whole, theirs(idx)[0], rtol=0, atol=1e-11)
    past = []
    parts = [ours(idx[:, :5], past=past)] + [ours(idx[:, i:i + 1], past=past) for i in range(5, 12)]
    assert torch.allclose(torch.cat(parts, 1), whole, rtol=0, atol=1e-11)
print("equal")
"""


def command(script: str, *arguments: object) -> list[str]:
    return [str(reference_python()), str(TRAIN / script), *map(str, arguments)]


def finish(script: str, *arguments: object) -> str:
    done = subprocess.run(
        command(script, *arguments), capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def end_when(process: subprocess.Popen, there: Path, number: int) -> None:
    """Send a signal as soon as a file is there."""
    until = time.monotonic() + 300
    while not there.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=120)


def steps_of(run: Path) -> list[int]:
    with (run / "log.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pack"
    finish("data.py", "--out", folder, "--count", 8, "--size", 32, 32, "--workers", 1)
    return folder


def train_vqgan(out: Path, pack: Path, kind: str, steps: int) -> list[object]:
    every = ["--log-every", 1, "--save-every", 4, "--free-steps", 4, "--gan-from", 0.6]
    return ["--out", out, "--pack", pack, "--kind", kind, "--steps", steps, *SIZES, *every]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, pack: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "images"
    finish("train_vqgan.py", *train_vqgan(out, pack, "images", 20))
    return out


def test_networks_equal_the_originals_under_the_same_names(tmp_path: Path) -> None:
    script = tmp_path / "parity.py"
    script.write_text(PARITY.format(train=str(TRAIN), root=str(ROOT)), encoding="utf-8")
    assert run_reference(script).strip().endswith("equal")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_vqgan_run_goes_on_where_it_was_ended(tmp_path: Path, pack: Path, number: int) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("train_vqgan.py", *train_vqgan(run, pack, "images", 100000)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    end_when(process, run / "last.ckpt", number)
    assert not (run / "model.ckpt").exists()
    before = steps_of(run)
    said = finish("train_vqgan.py", *train_vqgan(run, pack, "images", before[-1] + 20))
    resumed = int(said.split("resumed at step ")[1].split()[0])
    assert 4 <= resumed <= before[-1] + 1
    assert resumed == before[-1] or number == signal.SIGKILL
    steps = steps_of(run)
    assert steps == list(range(1, before[-1] + 21))
    for name in ("model.ckpt", "sheet.png", "curves.png"):
        assert (run / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("task", "kind"), [("segmentation", "labels"), ("depth", "depth"), ("class", None)]
)
def test_a_transformer_is_trained_and_exported(
    tmp_path: Path, pack: Path, images: Path, task: str, kind: str | None
) -> None:
    run = tmp_path / "run"
    first = ["--first-stage", images / "model.ckpt"]
    if kind is not None:
        finish("train_vqgan.py", *train_vqgan(tmp_path / "maps", pack, kind, 10))
        first += ["--cond-stage", tmp_path / "maps" / "model.ckpt"]
    sizes = "--n-layer 1 --n-head 2 --n-embd 16 --batch 2 --log-every 1 --save-every 3".split()
    call = ["--out", run, "--task", task, "--pack", pack, *first, *sizes]
    finish("train_transformer.py", *call, "--steps", 4)
    said = finish("train_transformer.py", *call, "--steps", 6)
    assert "resumed at step 4" in said
    assert steps_of(run) == [1, 2, 3, 4, 5, 6]
    show = tmp_path / "show.py"
    show.write_text(
        "import sys, torch\n"
        "saved = torch.load(sys.argv[1], weights_only=True)\n"
        "print(*sorted({k.split('.')[0] for k in saved['state_dict']}), *sorted(saved['configs']))",
        encoding="utf-8",
    )
    maps = kind is not None
    expected = ["cond_stage_model"] * maps + ["first_stage_model", "transformer"]
    expected += ["cond_stage"] * maps + ["first_stage", "transformer"]
    assert run_reference(show, run / "model.ckpt").split() == expected


def test_two_processes_train_one_network(tmp_path: Path, pack: Path) -> None:
    run = tmp_path / "run"
    launcher = [str(reference_python()), "-m", "torch.distributed.run", "--standalone"]
    script = [str(TRAIN / "train_vqgan.py"), *map(str, train_vqgan(run, pack, "labels", 8))]
    done = subprocess.run(
        [*launcher, "--nproc-per-node=2", *script, "--threads", "1"],
        capture_output=True, text=True, timeout=600, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("done") == 1
    assert steps_of(run) == list(range(1, 9))


def test_a_transformer_of_maps_needs_their_vqgan(tmp_path: Path) -> None:
    done = subprocess.run(
        command("train_transformer.py", "--out", tmp_path, "--task", "depth", "--pack", tmp_path,
                "--first-stage", tmp_path / "model.ckpt"),
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--cond-stage" in done.stderr

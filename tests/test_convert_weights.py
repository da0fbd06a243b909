"""The converter's command line: what it writes, prints, refuses, and with which exit status."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np
import pytest

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.checkpoint import open_checkpoint
from official.multimodal.taming_transformer.config import DVAEConfig, Net2NetConfig
from official.multimodal.taming_transformer.convert import plan_conversion
from official.multimodal.taming_transformer.dvae import DVAE
from official.multimodal.taming_transformer.filling import parameter_shapes
from tools import convert_weights

from . import torch_zip as tz
from .layout_names import is_convolution, tables
from .reference_env import ROOT, reference_python, run_reference
from .test_convert import CONFIGS, draw, gpt_shapes, shapes_of

Shapes = Mapping[str, "tuple[int, ...]"]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Shapes]]:
    """A zoo of tiny models in place of the real one."""
    table: dict[str, Shapes] = {name: shapes_of(CONFIGS[name]) for name in ("vq", "labels")}
    table["dvae"] = parameter_shapes(DVAE(DVAEConfig(n_embed=16, n_hid=8, n_init=4)))
    parts = {"first_stage_model": table["vq"], "cond_stage_model": table["labels"]}
    parts["transformer"] = gpt_shapes()
    table["net"] = {f"{p}.{n}": s for p, inner in parts.items() for n, s in inner.items()}

    def expected_shapes(name: str) -> Shapes:
        if name not in table:
            raise ValueError(f"there is no model {name!r}; models are: {', '.join(table)}")
        return table[name]

    monkeypatch.setattr(zoo, "MODELS", table)
    monkeypatch.setattr(zoo, "expected_shapes", expected_shapes)
    convert_weights._candidates.cache_clear()
    yield table
    convert_weights._candidates.cache_clear()


def checkpoint(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    path.write_bytes(tz.torch_file(arrays, nest="state_dict"))
    return path


def run(*arguments: object) -> int:
    return convert_weights.main([str(a) for a in arguments])


def test_a_checkpoint_is_converted_and_reported(
    tmp_path: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = draw(models["vq"])
    extra = {"loss.logvar": np.zeros(1, np.float32), "loss.a": np.ones(2, np.float32)}
    source = checkpoint(tmp_path / "last.ckpt", {**weights, **extra})
    output = tmp_path / "w.safetensors"
    assert run(source, "--model", "vq", "--output", output) == 0
    printed = capsys.readouterr().out
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    assert f"SHA-256   {digest}" in printed
    assert f"written   {len(weights)} tensors" in printed
    assert "dropped   2 tensors: training loss" in printed
    with open_checkpoint(output) as file:
        assert dict(file.metadata) == {
            "format": "megengine-taming",
            "model": "vq",
            "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        }
        for name, value in weights.items():
            np.testing.assert_array_equal(file.read(name), value)


def test_a_part_is_converted_at_half_precision(tmp_path: Path, models: Any) -> None:
    weights = draw(models["net"])
    source = checkpoint(tmp_path / "last.ckpt", weights)
    output = tmp_path / "part.safetensors"
    arguments = ("--part", "cond_stage", "--dtype", "float16", "--output", output)
    for model in ("net", "labels"):
        assert run(source, "--model", model, *arguments) == 0
        with open_checkpoint(output) as file:
            assert file.metadata["part"] == "cond_stage"
            assert {n: i.shape for n, i in file.tensors.items()} == dict(models["labels"])
            assert {i.dtype for i in file.tensors.values()} == {"float16"}


def test_the_halves_of_the_dvae_are_joined(tmp_path: Path, models: Any) -> None:
    weights = draw(models["dvae"])
    for half in ("encoder", "decoder"):
        inner = {n[8:]: v for n, v in weights.items() if n.startswith(half)}
        checkpoint(tmp_path / f"{half}.pkl", inner)
    output = tmp_path / "dvae.safetensors"
    assert run(tmp_path, "--model", "dvae", "--output", output) == 0
    with open_checkpoint(output) as file:
        assert len(file.metadata["source_sha256"].split()) == 2
        for name, value in weights.items():
            np.testing.assert_array_equal(file.read(name), value)


def test_inspect_prints_tensors_and_the_model_that_they_fit(
    tmp_path: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoint(tmp_path / "last.ckpt", draw(models["net"]))
    assert run(source, "--inspect") == 0
    printed = capsys.readouterr().out
    assert "tensor    transformer.pos_emb float32 [1, 256, 8]" in printed
    assert "fits      net" in printed
    assert "part      first_stage fits vq" in printed
    assert "part      cond_stage fits labels" in printed
    lacking = draw({n: s for n, s in models["labels"].items() if n != "quant_conv.bias"})
    assert run(checkpoint(source, lacking), "--inspect") == 0
    assert "fits      no model; most like labels" in capsys.readouterr().out
    assert run(checkpoint(source, {"a\nb": np.zeros(1, np.float32)}), "--inspect") == 0
    assert r"tensor    'a\nb' float32 [1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("none.ckpt", "--inspect"), 1, "there is no checkpoint file"),
        (("none.ckpt", "--model", "vq", "--output", "w"), 1, "there is no checkpoint file"),
        (("vq.ckpt", "--model", "labels", "--output", "w"), 1, "it is vq"),
        (("page.ckpt", "--model", "vq", "--output", "w"), 1, "web page"),
        (("evil.ckpt", "--model", "vq", "--output", "w"), 1, "os.system"),
        (("evil.ckpt", "--inspect"), 1, "os.system"),
        (("vq.ckpt", "--model", "vq", "--output", "no/w"), 1, "there is no folder"),
        (("vq.ckpt", "--model", "vq", "--part", "transformer", "--output", "w"), 1, "holds no"),
        (("vq.ckpt", "--model", "nothing", "--output", "w"), 2, "models are: vq, labels"),
        (("vq.ckpt", "--model", "vq", "--output", "vq.ckpt"), 2, "the source itself"),
        (("vq.ckpt", "page.ckpt", "--model", "vq", "--output", "w"), 2, "encoder"),
    ],
)
def test_whatever_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    models: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / "vq.ckpt", draw(models["vq"]))
    (tmp_path / "page.ckpt").write_bytes(b"<html>404</html>")
    evil = tz.mapping({"x": tz.call("os", "system", tz.text("touch ran"))})
    (tmp_path / "evil.ckpt").write_bytes(tz.archive(tz.program(evil), {}))
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(*arguments) == status
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [(), ("a",), ("a", "--model", "vq"), ("a", "--part", "x")])
def test_a_wrong_call_shows_the_usage(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_tool_runs_as_a_program_from_any_folder(tmp_path: Path) -> None:
    tool = ROOT / "tools" / "convert_weights.py"
    done = subprocess.run(
        [sys.executable, str(tool), "none.ckpt", "--inspect"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "there is no checkpoint file none.ckpt" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


DVAE_SCRIPT = """
import sys, torch
from dall_e import Decoder, Encoder
torch.manual_seed(0)
folder = sys.argv[1]
encoder, decoder = Encoder(n_hid=8, vocab_size=16), Decoder(n_hid=8, n_init=4, vocab_size=16)
import numpy as np
state = {f"{half}.{n}": v.numpy() for half, net in (("encoder", encoder), ("decoder", decoder))
         for n, v in net.state_dict().items()}
np.savez(f"{folder}/wanted.npz", **state)
torch.save(encoder, f"{folder}/encoder.pkl")
torch.save(decoder, f"{folder}/decoder.pkl", _use_new_zipfile_serialization=False)
"""


@pytest.mark.slow
def test_openai_modules_pickled_whole_are_converted(tmp_path: Path, models: Any) -> None:
    reference_python()
    script = tmp_path / "script.py"
    script.write_text(DVAE_SCRIPT)
    run_reference(script, tmp_path)
    output = tmp_path / "out.safetensors"
    sources = (tmp_path / "encoder.pkl", tmp_path / "decoder.pkl")
    assert run(*sources, "--model", "dvae", "--output", output) == 0
    with np.load(tmp_path / "wanted.npz") as wanted, open_checkpoint(output) as file:
        assert set(file.tensors) == set(wanted)
        for name in wanted:
            np.testing.assert_array_equal(file.read(name), wanted[name])


PUBLISHED = (
    "vqgan_imagenet_f16_1024", "vqgan_imagenet_f16_16384", "vqgan_gumbel_f8",
    "vqgan_openimages_f8_256", "vqgan_openimages_f8_16384", "s_flckr_transformer",
    "celebahq_transformer", "drin_transformer",
)  # fmt: skip


@pytest.mark.parametrize("model", PUBLISHED)
def test_files_published_for_megengine_models_fit_their_models(model: str) -> None:
    expected = zoo.expected_shapes(model)
    config = zoo.MODELS[model].config
    stages = {"": config}
    if isinstance(config, Net2NetConfig):
        stages = {"first_stage_model.": config.first_stage}
        if config.cond_stage is not None:
            stages["cond_stage_model."] = config.cond_stage
    old = {name: name for name in expected}
    for prefix, stage in stages.items():
        port, _ = tables(stage)
        old.update({prefix + ours: prefix + theirs for ours, theirs in port.items()})
    found = {}
    for name, shape in expected.items():
        bias = name.endswith(".bias") and old[name] != name and is_convolution(name)
        bias = bias or name.endswith("quant_conv.bias") or name.endswith("quantize.proj.bias")
        found[old[name]] = (1, *shape, 1, 1) if bias else shape
    plan = plan_conversion(found, expected)
    assert plan.layout == "MegEngine/Models"
    assert {name: ref.source for name, ref in plan.take.items()} == old


def test_every_model_of_the_zoo_recognises_its_own_tensors() -> None:
    convert_weights._candidates.cache_clear()
    table = convert_weights._candidates()
    assert list(table) == list(zoo.MODELS)
    for name, expected in table.items():
        fits = convert_weights._fits(expected)
        assert name in fits.split(" or ")

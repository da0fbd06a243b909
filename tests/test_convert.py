"""Every layout becomes the original's, nothing that a network needs is guessed or passed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping

import megengine as mge
import numpy as np
import pytest

from official.multimodal.taming_transformer.checkpoint import open_checkpoint, write_safetensors
from official.multimodal.taming_transformer.config import (
    DDConfig,
    DVAEConfig,
    GPTConfig,
    Net2NetConfig,
    VQModelConfig,
)
from official.multimodal.taming_transformer.conversion import convert_file, plan_file, source_files
from official.multimodal.taming_transformer.convert import (
    fitting_models,
    guess_model,
    plan_conversion,
)
from official.multimodal.taming_transformer.dvae import DVAE
from official.multimodal.taming_transformer.errors import CheckpointError
from official.multimodal.taming_transformer.filling import parameter_shapes
from official.multimodal.taming_transformer.layouts import old_diffusers_names
from official.multimodal.taming_transformer.loading import load_checkpoint
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from official.multimodal.taming_transformer.vqgan import build_vqgan

from . import torch_zip as tz
from .layout_names import as_diffusers, as_port, tables

Shapes = Mapping[str, "tuple[int, ...]"]

_SMALL = DDConfig(
    ch=32, ch_mult=(1, 1, 2), num_res_blocks=1, attn_resolutions=(8,), z_channels=32, resolution=32
)
CONFIGS = {
    "vq": VQModelConfig(_SMALL, 16, 24),
    "two blocks": VQModelConfig(
        replace(_SMALL, num_res_blocks=2, ch_mult=(1, 2), attn_resolutions=(16,)), 16, 24
    ),
    "attention twice": VQModelConfig(replace(_SMALL, attn_resolutions=(16, 32)), 16, 24),
    "attention nowhere": VQModelConfig(replace(_SMALL, attn_resolutions=()), 16, 24),
    "no middle attention": VQModelConfig(
        replace(_SMALL, attn_resolutions=(), attn_type="none"), 16, 24
    ),
    "gumbel": VQModelConfig(_SMALL, 16, 24, gumbel=True),
    "labels": VQModelConfig(replace(_SMALL, in_channels=5, out_ch=5), 16, 24),
}
GPT = GPTConfig(16, 256, 2, 2, 8)


def shapes_of(config: VQModelConfig) -> dict[str, tuple[int, ...]]:
    return parameter_shapes(build_vqgan(config))


def draw(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(s).astype(np.float32) * 0.2 for name, s in shapes.items()}


def in_layout(
    weights: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    form: Callable[[str, np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    return {names[name]: form(name, value) for name, value in weights.items()}


def shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def take(plan: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: ref.transform(arrays[ref.source]) for name, ref in plan.take.items()}


def assert_equal(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("case", "layout"),
    [
        (case, layout)
        for case in CONFIGS
        for layout in ("CompVis", "MegEngine/Models", "diffusers")
        if not (layout == "diffusers" and CONFIGS[case].gumbel)  # it has no such quantizer
    ],
)
def test_every_layout_of_a_vqgan_becomes_the_original_one(case: str, layout: str) -> None:
    config = CONFIGS[case]
    weights = draw(shapes_of(config))
    port, theirs = tables(config)
    arrays = {
        "CompVis": weights,
        "MegEngine/Models": in_layout(weights, port, as_port),
        "diffusers": in_layout(weights, theirs, as_diffusers),
    }[layout]
    plan = plan_conversion(shapes(arrays), shapes(weights))
    assert plan.layout == layout
    assert not plan.dropped
    assert_equal(take(plan, arrays), weights)


def test_diffusers_before_its_new_attention_is_understood() -> None:
    config = CONFIGS["attention twice"]
    weights = draw(shapes_of(config))
    _, theirs = tables(config)
    leaves = {
        ".to_q.": ".query.",
        ".to_k.": ".key.",
        ".to_v.": ".value.",
        ".to_out.0.": ".proj_attn.",
    }
    older = {}
    for name, other in theirs.items():
        for new, old in leaves.items():
            other = other.replace(new, old)
        older[name] = other
    assert older != theirs
    assert old_diffusers_names(weights) == older
    arrays = in_layout(weights, older, as_diffusers)
    assert_equal(take(plan_conversion(shapes(arrays), shapes(weights)), arrays), weights)


def test_a_file_of_megengine_models_decodes_to_the_same_picture(tmp_path: Path) -> None:
    for case in ("vq", "gumbel"):
        config = CONFIGS[case]
        weights = draw(shapes_of(config))
        port, _ = tables(config)
        write_safetensors(tmp_path / "new.safetensors", weights)
        mge.save(in_layout(weights, port, as_port), str(tmp_path / "old.pkl"))
        x = mge.Tensor(np.random.default_rng(1).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32))
        outputs = []
        for file in ("new.safetensors", "old.pkl"):
            model = build_vqgan(config)
            load_checkpoint(model, tmp_path / file)
            model.eval()
            z, indices = model.encode(x)
            outputs.append((indices.numpy(), model.decode(z).numpy()))
        assert len(np.unique(outputs[0][0])) > 1
        np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
        np.testing.assert_array_equal(outputs[0][1], outputs[1][1])


def net2net(cond: VQModelConfig | None) -> dict[str, tuple[int, ...]]:
    """Shapes of a transformer model, put together by hand."""
    parts = {"first_stage_model": shapes_of(CONFIGS["vq"]), "transformer": gpt_shapes()}
    if cond is not None:
        parts["cond_stage_model"] = shapes_of(cond)
    return {f"{part}.{name}": s for part, inner in parts.items() for name, s in inner.items()}


def gpt_shapes() -> dict[str, tuple[int, ...]]:
    d = GPT.n_embd
    found: dict[str, tuple[int, ...]] = {
        "tok_emb.weight": (GPT.vocab_size, d), "pos_emb": (1, GPT.block_size, d),
        "ln_f.weight": (d,), "ln_f.bias": (d,), "head.weight": (GPT.vocab_size, d),
    }  # fmt: skip
    for i in range(GPT.n_layer):
        for leaf in ("ln1", "ln2"):
            found.update({f"blocks.{i}.{leaf}.{k}": (d,) for k in ("weight", "bias")})
        for leaf, (n, m) in {
            "attn.key": (d, d), "attn.query": (d, d), "attn.value": (d, d), "attn.proj": (d, d),
            "mlp.0": (4 * d, d), "mlp.2": (d, 4 * d),
        }.items():  # fmt: skip
            found[f"blocks.{i}.{leaf}.weight"] = (n, m)
            found[f"blocks.{i}.{leaf}.bias"] = (n,)
    return found


def test_the_hand_made_shapes_are_those_of_the_network() -> None:
    config = Net2NetConfig("unconditional", CONFIGS["vq"], GPT)
    assert parameter_shapes(Net2NetTransformer(config)) == net2net(None)


TRAINING = {
    "transformer.blocks.0.attn.mask": np.ones((1, 1, 256, 256), np.float32),
    "transformer.blocks.1.attn.mask": np.ones((1, 1, 256, 256), np.float32),
    "first_stage_model.loss.discriminator.main.3.num_batches_tracked": np.array(7),
    "first_stage_model.loss.perceptual_loss.lin0.model.1.weight": np.ones(3, np.float32),
    "cond_stage_model.colorize": np.ones((3, 5, 1, 1), np.float32),
}


@pytest.mark.parametrize("layout", ["CompVis", "MegEngine/Models"])
def test_a_whole_transformer_is_converted_in_both_layouts(layout: str) -> None:
    expected = net2net(CONFIGS["labels"])
    weights = draw(expected)
    arrays = dict(weights)
    if layout == "MegEngine/Models":
        arrays = {}
        for name, value in weights.items():
            stage, _, inner = name.partition(".")
            if stage == "transformer":
                arrays[name] = value
                continue
            port, _ = tables(CONFIGS["vq" if stage == "first_stage_model" else "labels"])
            arrays[f"{stage}.{port[inner]}"] = as_port(inner, value)
    found = {**arrays, **TRAINING}
    plan = plan_conversion(shapes(found), expected)
    assert plan.layout == layout
    assert set(plan.dropped) == set(TRAINING)
    assert_equal(take(plan, found), weights)


@pytest.mark.parametrize(
    ("part", "prefix", "config"),
    [
        ("first_stage", "first_stage_model.", "vq"),
        ("first_stage_model", "first_stage_model.", "vq"),
        ("cond_stage", "cond_stage_model.", "labels"),
        ("transformer", "transformer.", ""),
    ],
)
def test_a_part_is_taken_out_of_a_transformer(part: str, prefix: str, config: str) -> None:
    whole = net2net(CONFIGS["labels"])
    weights = {**draw(whole), **TRAINING}
    alone = {n[len(prefix) :]: s for n, s in whole.items() if n.startswith(prefix)}
    if config:
        assert alone == shapes_of(CONFIGS[config])
    for expected in (alone, whole):
        plan = plan_conversion(shapes(weights), expected, part=part)
        wanted = {name: weights[prefix + name] for name in alone}
        assert_equal(take(plan, weights), wanted)
        assert set(plan.take) | set(plan.dropped)
        taken = {ref.source for ref in plan.take.values()}
        assert taken | set(plan.dropped) == set(weights)
        assert not taken & set(plan.dropped)


def refused(found: Shapes, expected: Shapes, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        plan_conversion(found, expected, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message


VQ = shapes_of(CONFIGS["vq"])


def test_whatever_is_missing_extra_or_misshapen_is_named() -> None:
    name = "decoder.up.1.block.0.conv1.weight"
    assert name in refused({n: s for n, s in VQ.items() if n != name}, VQ)
    assert "1 unexpected (decoder.extra)" in refused({**VQ, "decoder.extra": (1,)}, VQ)
    assert r"'a\x1b\n'" in refused({**VQ, "a\x1b\n": (1,)}, VQ)
    message = refused({**VQ, name: (1, 2, 3, 3)}, VQ)
    assert f"{name} is (1, 2, 3, 3), not {VQ[name]}" in message


@pytest.mark.parametrize(
    "extra",
    [
        "colorize.weight", "encoder.loss.x", "lossy", "attn.mask", "encoder.mid.attn_1.mask",
        "model_emas.x", "transformer.blocks.0.attn.key.weight", "permuter.x",
    ],
)  # fmt: skip
def test_nothing_that_only_resembles_training_state_is_dropped(extra: str) -> None:
    assert extra in refused({**VQ, extra: (1,)}, VQ)


@pytest.mark.parametrize(
    "extra",
    ["loss.logvar", "model_ema.decay", "model_ema.encoderconv_inweight", "colorize"],
)
def test_training_state_is_dropped_with_a_reason(extra: str) -> None:
    plan = plan_conversion({**VQ, extra: (1,)}, VQ)
    assert list(plan.dropped) == [extra]
    assert plan.dropped[extra]
    assert len(plan.take) == len(VQ)


def test_shapes_that_differ_by_more_than_axes_of_length_one_are_refused() -> None:
    for name, shape in {
        "encoder.conv_in.weight": (3, 32, 3, 3),
        "encoder.conv_in.bias": (32, 1, 1, 1),
        "encoder.mid.attn_1.q.weight": (1, 64, 64),
        "quantize.embedding.weight": (24, 16),
    }.items():
        assert name in refused({**VQ, name: shape}, VQ)


def test_a_remapped_codebook_is_refused() -> None:
    assert "remap" in refused({**VQ, "quantize.used": (16,)}, VQ)


def test_another_model_is_called_by_its_name() -> None:
    table = {name: shapes_of(config) for name, config in CONFIGS.items()}
    assert "it is gumbel" in refused(table["gumbel"], VQ, candidates=lambda: table)
    lacking = {n: s for n, s in table["labels"].items() if n != "quant_conv.bias"}
    assert "looks most like labels" in refused(lacking, VQ, candidates=table)
    assert "look" not in refused({"a": (1,)}, VQ, candidates=table)


def test_a_transformer_in_place_of_a_vqgan_is_told_from_its_parts() -> None:
    message = refused(net2net(CONFIGS["labels"]), VQ)
    assert "first_stage, cond_stage, transformer" in message
    assert "holds no cond_stage_model" in refused(net2net(None), VQ, part="cond_stage")
    with pytest.raises(ValueError, match="first_stage, cond_stage, transformer"):
        plan_conversion(VQ, VQ, part="decoder")


def test_models_are_recognised_in_every_layout() -> None:
    table = {name: shapes_of(config) for name, config in CONFIGS.items()}
    for name, config in CONFIGS.items():
        weights = draw(table[name])
        port, _ = tables(config)
        for arrays in (weights, in_layout(weights, port, as_port)):
            assert guess_model(shapes(arrays), table) == name
            assert fitting_models(shapes(arrays), table) == (name,)
    assert guess_model({"x": (1,)}, table) is None
    assert fitting_models({"x": (1,)}, lambda: table) == ()
    same = {**table, "twin": table["vq"]}
    assert fitting_models(table["vq"], same) == ("vq", "twin")


def dvae_files(folder: Path, kind: str) -> tuple[dict[str, np.ndarray], list[Path]]:
    """Write a tiny dVAE as two files: OpenAI's pickled modules, or MegEngine/Models' dicts."""
    weights = draw(parameter_shapes(DVAE(DVAEConfig(n_embed=16, n_hid=8, n_init=4))))
    paths = []
    for half in ("encoder", "decoder"):
        inner = {n[len(half) + 1 :]: v for n, v in weights.items() if n.startswith(f"{half}.")}
        paths.append(folder / (f"{half}.pkl" if kind == "OpenAI" else f"dalle_dvae_{half}.pkl"))
        if kind == "OpenAI":
            paths[-1].write_bytes(tz.torch_file(inner))
            continue
        long = {".w": ".weight", ".b": ".bias"}
        renamed = {
            n[:-2] + long[n[-2:]]: v.reshape(1, -1, 1, 1) if n.endswith(".b") else v
            for n, v in inner.items()
        }
        mge.save(renamed, str(paths[-1]))
    return weights, paths


@pytest.mark.parametrize("kind", ["OpenAI", "MegEngine/Models"])
@pytest.mark.parametrize("given", ["folder", "files", "files in the other order"])
def test_the_two_files_of_the_dvae_become_one(tmp_path: Path, kind: str, given: str) -> None:
    (tmp_path / "in").mkdir()
    weights, paths = dvae_files(tmp_path / "in", kind)
    (tmp_path / "in" / "README.txt").write_text("x")
    sources = {
        "folder": [tmp_path / "in"], "files": paths, "files in the other order": paths[::-1]
    }[given]  # fmt: skip
    output = tmp_path / "out.safetensors"
    convert_file(source_files(sources), shapes(weights), output)
    with open_checkpoint(output) as file:
        found = {name: file.read(name) for name in weights}
    assert_equal(found, weights)


def test_sources_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    for name in ("encoder.pkl", "a.pkl", "encoder_decoder.pkl"):
        (tmp_path / name).write_bytes(b"x")
    for paths in (
        [tmp_path],
        [tmp_path / "encoder.pkl", tmp_path / "a.pkl"],
        [tmp_path / "encoder.pkl", tmp_path / "encoder_decoder.pkl"],
        [tmp_path / "encoder.pkl"] * 3,
    ):
        with pytest.raises(ValueError, match="encoder"):
            source_files(paths)
    assert source_files([tmp_path / "a.pkl"]) == {"": tmp_path / "a.pkl"}


def checkpoint(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Path]:
    path.write_bytes(tz.torch_file(arrays, nest="state_dict"))
    return {"": path}


def test_conversion_gives_the_same_bytes_every_time_and_in_any_order(tmp_path: Path) -> None:
    weights = draw(VQ)
    port, _ = tables(CONFIGS["vq"])
    mge.save(in_layout(weights, port, as_port), str(tmp_path / "old.pkl"))
    backwards = dict(reversed(list(weights.items())))
    digests = {
        convert_file(sources, VQ, tmp_path / f"{i}", metadata={"model": "vq"}).sha256
        for i, sources in enumerate(
            [
                checkpoint(tmp_path / "a.ckpt", weights),
                checkpoint(tmp_path / "b.ckpt", backwards),
                {"": tmp_path / "old.pkl"},
            ]
        )
    }
    assert len(digests) == 1


def test_float16_is_rounded_to_nearest_and_refused_where_it_overflows(tmp_path: Path) -> None:
    weights = draw({"a": (50, 3), "b": (7,)})
    expected = shapes(weights)
    sources = checkpoint(tmp_path / "a.ckpt", weights)
    done = convert_file(sources, expected, tmp_path / "h", dtype="float16")
    assert (done.tensors, done.parameters) == (2, 157)
    with open_checkpoint(tmp_path / "h") as file:
        assert file.tensors["a"].dtype == "float16"
        np.testing.assert_array_equal(file.read("a"), weights["a"].astype(np.float16))
    weights["b"][3] = 70_000
    with pytest.raises(CheckpointError, match=r"a\.ckpt holds numbers in b .*float16"):
        convert_file(
            checkpoint(tmp_path / "a.ckpt", weights), expected, tmp_path / "h2", dtype="float16"
        )
    assert not (tmp_path / "h2").exists()
    with pytest.raises(ValueError, match="float32 or float16"):
        convert_file(sources, expected, tmp_path / "h3", dtype="int8")


def test_integers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    sources = checkpoint(tmp_path / "a.ckpt", {"a": np.arange(3)})
    with pytest.raises(CheckpointError, match=r"a\.ckpt holds int64 in a"):
        convert_file(sources, {"a": (3,)}, tmp_path / "out")


@pytest.mark.parametrize("order", [np.arange(9), np.arange(9)[::-1].copy()])
def test_only_row_major_tokens_are_accepted(tmp_path: Path, order: np.ndarray) -> None:
    arrays = {"a": np.ones(3, np.float32), "permuter.forward_shuffle_idx": order}
    path = checkpoint(tmp_path / "a.ckpt", arrays)[""]
    with open_checkpoint(path) as file:
        if order[0] == 0:
            assert "permuter.forward_shuffle_idx" in plan_file(file, {"a": (3,)}).dropped
            return
        with pytest.raises(CheckpointError, match="permutes its tokens"):
            plan_file(file, {"a": (3,)})


def test_damage_in_the_source_leaves_the_old_output(tmp_path: Path) -> None:
    weights = draw({"a": (500,), "b": (500,)})
    sources = checkpoint(tmp_path / "a.ckpt", weights)
    output = tmp_path / "out.safetensors"
    convert_file(sources, shapes(weights), output)
    before = output.read_bytes()
    data = bytearray(sources[""].read_bytes())
    data[data.find(weights["b"].tobytes()) + 100] ^= 64
    sources[""].write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged in tensor 'b'"):
        convert_file(sources, shapes(weights), output)
    assert output.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.ckpt", "out.safetensors"}

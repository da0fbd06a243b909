"""Run this repository's networks stage by stage beside what the original computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

import numpy as np
from megengine import Tensor

from official.multimodal.taming_transformer.columns import from_columns
from official.multimodal.taming_transformer.config import (
    DDConfig,
    DVAEConfig,
    GPTConfig,
    Net2NetConfig,
    VQModelConfig,
)
from official.multimodal.taming_transformer.dvae import DVAE
from official.multimodal.taming_transformer.gpt import GPT
from official.multimodal.taming_transformer.loading import load_tensors, parameter_shapes
from official.multimodal.taming_transformer.net2net import Net2NetTransformer
from official.multimodal.taming_transformer.vqgan import build_vqgan

from .cases import Case
from .draw import draw_weights, fingerprint
from .inputs import inputs

# Largest error that counts as equal, as a part of the largest magnitude of the stage.
TOLERANCE = 1e-4
Arrays = Mapping[str, np.ndarray]
CONDITION = {"sos": "unconditional", "scene": "scene_layout"}


@dataclass(frozen=True)
class Row:
    """One stage of one model beside the original's.

    Attributes:
        stage: Its name.
        shape: Shape of what was compared.
        error: Largest difference as a part of the original's largest magnitude; for indices the
            part of them that differ and are no ties.
        ties: Indices that differ where the original's two best scores lie within ``TOLERANCE``;
            ``None`` for what is no index.
    """

    stage: str
    shape: tuple[int, ...]
    error: float
    ties: int | None = None


def vq_config(config: Mapping[str, Any], gumbel: bool = False) -> VQModelConfig:
    dd = DDConfig(**config["ddconfig"])
    return VQModelConfig(dd, config["n_embed"], config["embed_dim"], gumbel=gumbel)


def _net2net_config(config: Mapping[str, Any], window: int) -> Net2NetConfig:
    cond = config["cond_stage"]
    kind = cond["kind"]
    on_map = kind in ("coordinates", "depth", "segmentation")
    parts = {key: cond[key] for key in ("ddconfig", "n_embed", "embed_dim") if key in cond}
    return Net2NetConfig(
        CONDITION.get(kind, kind),
        vq_config(config["first_stage"]),
        GPTConfig(**config["transformer"]),
        cond_stage=vq_config(parts) if "ddconfig" in cond else None,
        n_classes=cond.get("n_classes", 0),
        cond_length=window**2 if on_map else cond.get("length", 1),
        window=window,
    )


def skeleton(case: Case) -> Any:
    """Build our network of ``case``, not filled."""
    if case.kind == "dvae":
        config = dict(case.config)
        return DVAE(DVAEConfig(n_embed=config.pop("vocab_size"), **config))
    if case.kind == "gpt":
        return GPT(GPTConfig(**case.config))
    if case.kind == "net2net":
        return Net2NetTransformer(
            _net2net_config(case.config, 16 if min(case.shape[2:]) > 63 else 7)
        )
    return build_vqgan(vq_config(case.config, case.kind == "gumbel"))


def build(case: Case) -> tuple[Any, str]:
    """Build our network of ``case`` with its drawn weights; return it and their fingerprint."""
    model = skeleton(case)
    drawn = draw_weights(parameter_shapes(model), case.seed)
    load_tensors(model, drawn)
    model.eval()
    return model, fingerprint(drawn.items())


def row(stage: str, found: Tensor, expected: np.ndarray) -> Row:
    """Compare numbers."""
    values = found.numpy()
    if values.shape != expected.shape:
        raise AssertionError(f"{stage} has shape {values.shape}, expected {expected.shape}")
    error = np.abs(values - expected).max() / np.abs(expected).max()
    return Row(stage, values.shape, float(error) if np.isfinite(error) else float("inf"))


def index_row(stage: str, found: Tensor, expected: np.ndarray, margins: np.ndarray | None) -> Row:
    """Compare indices; ``margins`` say where the original itself hardly chose."""
    values = found.numpy()
    other = values.reshape(expected.shape) != expected
    tie = other & (margins < TOLERANCE) if margins is not None else np.zeros_like(other)
    return Row(stage, values.shape, float((other & ~tie).mean()), int(tie.sum()))


def watch(modules: list[Any], run: Callable[[], Any]) -> tuple[list[Tensor], Any]:
    """Return what the modules gave out while ``run`` ran, in that order, and what it returned."""
    seen: list[Tensor] = []
    hooks = [m.register_forward_hook(lambda _m, _i, out: seen.append(out)) for m in modules]
    result = run()
    for hook in hooks:
        hook.remove()
    return seen, result


def _autoencoder(model: Any, given: Arrays, expected: Arrays) -> list[Row]:
    """Compare encoder, quantizer and decoder; the decoder gets the original's codes."""
    last = model.quant_conv if "h" in expected else model.encoder.blocks
    (h,), (z_q, indices) = watch([last], lambda: model.encode(Tensor(given["x"])))
    rows = []
    if "h" in expected:
        rows.append(row("encoder", h, expected["h"]))
    if "logits" in expected:
        logits = model.quantize.proj(h) if "h" in expected else h
        rows.append(row("code logits", logits.transpose(0, 2, 3, 1), expected["logits"]))
    rows.append(index_row("indices", indices, expected["indices"], expected["margins"]))
    if "z_q" in expected and not rows[-1].ties:
        rows.append(row("quantized", z_q, expected["z_q"]))
    codes = Tensor(expected["indices"], dtype="int32")
    return [*rows, row("decoder", model.decode_code(codes), expected["rec"])]


def _gpt(model: GPT, given: Arrays, expected: Arrays) -> list[Row]:
    """Compare every layer, the logits, and the logits of a cached run one token at a time.

    The steps go the samplers' way, which is another one for one sample.
    """
    idx = Tensor(given["x"].astype(np.int32))
    hidden, logits = watch(model.blocks, lambda: model(idx))
    layers = [from_columns(out, idx.shape[0]) for out in hidden]
    rows = [row(f"layer {i}", out, expected[f"block_{i}"]) for i, out in enumerate(layers)]
    rows.append(row("logits", logits, expected["logits"]))
    for batch in sorted({1, idx.shape[0]}):
        cache, first = model.new_cache(), max(1, model.config.n_unmasked)
        tokens = given["x"].astype(np.int32)[:batch]
        parts = [model(idx[:batch, :first], cache).numpy()]
        for t in range(first, idx.shape[1]):
            parts.append(model.next_logits(tokens[:, t : t + 1], cache)[:, None])
        steps = np.concatenate(parts, axis=1)
        rows.append(
            row(f"logits, cached, batch {batch}", Tensor(steps), expected["logits"][:batch])
        )
    return rows


def _logits(model: Any, x: Tensor, c: Any, rows: list[Row], expected: Arrays) -> Tensor:
    """Return the whole model's logits; after a tie, those of the original's own indices."""
    if not any(found.ties for found in rows):
        return model(x, c)
    parts = [expected["c_indices"], expected["z_indices"]]
    sequence = np.concatenate(parts, axis=1)[:, :-1].astype(np.int32)
    return model.transformer(Tensor(sequence))[:, parts[0].shape[1] - 1 :]


def _net2net(model: Net2NetTransformer, given: Arrays, expected: Arrays) -> list[Row]:
    """Compare both encodings, the logits of the whole model, and the decoded picture."""
    x = Tensor(given["x"])
    c = given.get("c")
    c = Tensor(c) if c is not None and c.dtype == np.float32 else c
    z_q, z = model.encode_to_z(x)
    c_q, tokens = model.encode_to_c(x if c is None else c)
    rows = [index_row("picture's indices", z, expected["z_indices"], expected["z_margins"])]
    rows.append(
        index_row("condition's indices", tokens, expected["c_indices"], expected.get("c_margins"))
    )
    if not rows[0].ties:
        rows.append(row("picture, quantized", z_q, expected["z_q"]))
    if "c_q" in expected and not rows[1].ties:
        rows.append(row("condition, quantized", c_q, expected["c_q"]))
    rows.append(row("logits", _logits(model, x, c, rows, expected), expected["logits"]))
    codes = Tensor(expected["z_indices"].reshape(z.shape)[:1], dtype="int32")
    return [*rows, row("decoded picture", model.decode_to_img(codes), expected["rec"])]


KINDS: dict[str, Callable[[Any, Arrays, Arrays], list[Row]]] = {
    "vq": _autoencoder,
    "gumbel": _autoencoder,
    "dvae": _autoencoder,
    "gpt": _gpt,
    "net2net": _net2net,
}


def compare(case: Case, model: Any, expected: Arrays) -> list[Row]:
    """Run ``model`` on the inputs of ``case`` and compare every stage with ``expected``."""
    return KINDS[case.kind](model, inputs(case), expected)

"""Build the original's networks for a case and fill them with drawn weights (needs torch).

Whatever needs the original imports it from here, behind the stand-ins.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Mapping

import attr
import torch

from . import draw, shim
from .cases import Case

shim.install()

from dall_e.decoder import Decoder as DalleDecoder  # noqa: E402
from dall_e.encoder import Encoder as DalleEncoder  # noqa: E402
from taming.models.cond_transformer import Net2NetTransformer  # noqa: E402
from taming.models.vqgan import GumbelVQ, VQModel  # noqa: E402
from taming.modules.transformer.mingpt import GPT, sample_with_past  # noqa: E402, F401

DUMMY_LOSS = {"target": "taming.modules.losses.vqperceptual.DummyLoss"}
SCHEDULE = {
    "target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler",
    "params": {
        "warm_up_steps": 0,
        "max_decay_steps": 1000001,
        "lr_start": 0.9,
        "lr_max": 0.9,
        "lr_min": 1e-6,
    },
}


def _vq_params(config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "ddconfig": {**config["ddconfig"], "ch_mult": list(config["ddconfig"]["ch_mult"])},
        "lossconfig": DUMMY_LOSS,
        "n_embed": config["n_embed"],
        "embed_dim": config["embed_dim"],
        **more,
    }


def _without_attention(model: torch.nn.Module) -> None:
    """Make the middle attention an identity, which is what ``attn_type: none`` builds upstream."""
    for half in (model.encoder, model.decoder):
        half.mid.attn_1 = torch.nn.Identity()


def _autoencoder(case: Case) -> torch.nn.Module:
    if case.kind == "gumbel":
        model = GumbelVQ(**_vq_params(case.config, temperature_scheduler_config=SCHEDULE))
    else:
        model = VQModel(**_vq_params(case.config))
    if case.config["ddconfig"]["attn_type"] == "none":
        _without_attention(model)
    return model


class Dalle(torch.nn.Module):
    """OpenAI's encoder and decoder under one roof, so that their names get a prefix each."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        common = {key: config[key] for key in ("n_hid", "n_blk_per_group", "vocab_size")}
        with attr.validators.disabled():  # they refuse small networks
            self.encoder = DalleEncoder(**common)
            self.decoder = DalleDecoder(n_init=config["n_init"], **common)


def _cond_stage(cond: Mapping[str, Any]) -> Any:
    kind = cond["kind"]
    if kind == "sos":
        return "__is_unconditional__"
    if kind == "class":
        target, params = "taming.modules.util.Labelator", {"n_classes": cond["n_classes"]}
    elif kind == "coordinates":
        params = {"n_embed": cond["n_embed"], "down_factor": cond["down_factor"]}
        target = "taming.modules.misc.coord.CoordStage"
    elif kind == "scene":
        target, params = f"{shim.__name__}.SceneStage", {}
    else:  # With flat indices the original's own forward cannot join them to the image's.
        target = "taming.models.vqgan.VQModel"
        params = _vq_params(cond, sane_index_shape=True)
    return {"target": target, "params": params}


def _net2net(case: Case) -> torch.nn.Module:
    config = case.config
    first = {"target": "taming.models.vqgan.VQModel", "params": _vq_params(config["first_stage"])}
    return Net2NetTransformer(
        {"target": "taming.modules.transformer.mingpt.GPT", "params": dict(config["transformer"])},
        first,
        _cond_stage(config["cond_stage"]),
        unconditional=config["cond_stage"]["kind"] == "sos",
    )


def skeleton(case: Case) -> torch.nn.Module:
    """Build the original of ``case`` as its constructors leave it, in inference mode."""
    builders = {"gpt": lambda c: GPT(**c.config), "dvae": lambda c: Dalle(c.config)}
    builders.update(vq=_autoencoder, gumbel=_autoencoder, net2net=_net2net)
    with contextlib.redirect_stdout(io.StringIO()):  # the original's constructors print
        return builders[case.kind](case).eval()


def is_weight(name: str) -> bool:
    """Tell what a checkpoint must hold from what constructors make anew."""
    return not name.endswith((".attn.mask", "colorize")) and not name.startswith("loss.")


@torch.no_grad()
def fill(model: torch.nn.Module, seed: int) -> str:
    """Give every weight of ``model`` its drawn value; return the fingerprint of all of them."""
    state = {name: tensor for name, tensor in model.state_dict().items() if is_weight(name)}
    drawn = draw.draw_weights({name: tuple(t.shape) for name, t in state.items()}, seed)
    for name, tensor in state.items():
        tensor.copy_(torch.from_numpy(drawn[name]))
    return draw.fingerprint(drawn.items())

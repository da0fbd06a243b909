"""What is measured: data only, shared by both sides."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "CompVis/taming-transformers (taming-transformers-rom1504 0.0.6)"

MAPS = {"vocab_size": 1024, "block_size": 512, "n_layer": 24, "n_head": 16, "n_embd": 1024}
FACES = {"vocab_size": 1024, "block_size": 256, "n_layer": 24, "n_head": 16, "n_embd": 1664}
CLASSES = {"vocab_size": 16384, "block_size": 256, "n_layer": 48, "n_head": 16, "n_embd": 1536}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        model: Builder of a VQGAN, or ``""`` for a transformer.
        side: Pixels along one side of the picture (VQGANs).
        gpt: Shape of the transformer; weights are random, so only the shape matters.
        shape: (h, w) of the latent.
        cond: Tokens of the condition: a map's window, or one.
        batch: Samples at once.
        cache_memory: Bytes for windows that come back.
        top_k: Filter of the draws.
        whole: Takes about a minute: it is run whole, but for ``--quick``.
    """

    model: str = ""
    side: int = 0
    gpt: dict[str, int] | None = None
    shape: tuple[int, int] = (16, 16)
    cond: int = 1
    batch: int = 1
    cache_memory: float = 2e9
    top_k: int = 100
    whole: bool = False


CASES = {
    "reconstruct_256": Case("vqgan_imagenet_f16_16384", 256),
    "reconstruct_512": Case("vqgan_imagenet_f16_16384", 512),
    "gumbel_256": Case("vqgan_gumbel_f8", 256),
    "drin_256": Case(gpt=MAPS, cond=256),
    "sflckr_64x42": Case(gpt=MAPS, cond=256, shape=(42, 64)),
    "sflckr_64x42_unbounded": Case(gpt=MAPS, cond=256, shape=(42, 64), cache_memory=1e12),
    "sflckr_64x42_x4": Case(gpt=MAPS, cond=256, shape=(42, 64), batch=4),
    "sflckr_64x42_x4_unbounded": Case(
        gpt=MAPS, cond=256, shape=(42, 64), batch=4, cache_memory=1e12
    ),
    "celebahq_b1": Case(gpt=FACES, top_k=250, whole=True),
    "celebahq_b8": Case(gpt=FACES, batch=8, top_k=250),
    "celebahq_b25": Case(gpt=FACES, batch=25, top_k=250),
    "cin_b8": Case(gpt=CLASSES, batch=8, top_k=600),
    "load_celebahq": Case("celebahq_transformer"),
}

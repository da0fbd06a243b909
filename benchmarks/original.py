"""The original's side of the comparison: CompVis' code on PyTorch, in its own environment."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.cases import CASES  # noqa: E402
from benchmarks.weights import draw_into  # noqa: E402
from benchmarks.worker import Builder, seconds, serve  # noqa: E402
from tests.reference.networks import DUMMY_LOSS, GPT, SCHEDULE  # noqa: E402
from tests.reference.shim import top_k_top_p_filtering  # noqa: E402

F16 = {
    "double_z": False, "z_channels": 256, "resolution": 256, "in_channels": 3, "out_ch": 3,
    "ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16],
    "dropout": 0.0,
}  # fmt: skip
F8 = {**F16, "ch_mult": [1, 1, 2, 4], "attn_resolutions": [32]}
SETTLING_LAYERS, SETTLING_WINDOWS = 2, 8  # take less than one window of all layers


def _vqgan(name: str) -> torch.nn.Module:
    from taming.models.vqgan import GumbelVQ, VQModel

    if name == "vqgan_gumbel_f8":
        return GumbelVQ(F8, DUMMY_LOSS, 8192, 256, SCHEDULE)
    return VQModel(F16, DUMMY_LOSS, 16384 if name.endswith("16384") else 1024, 256)


def _celebahq() -> torch.nn.Module:
    from taming.models.cond_transformer import Net2NetTransformer

    first = {"ddconfig": F16, "n_embed": 1024, "embed_dim": 256, "lossconfig": DUMMY_LOSS}
    return Net2NetTransformer(
        {"target": "taming.modules.transformer.mingpt.GPT", "params": CASES["celebahq_b1"].gpt},
        {"target": "taming.models.vqgan.VQModel", "params": first},
        "__is_unconditional__",
    )


@contextmanager
def _bare() -> Iterator[None]:
    """Build networks without drawing numbers that are replaced at once."""
    layers = torch.nn.Linear, torch.nn.Conv2d, torch.nn.Embedding
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(patch.object(layer, "reset_parameters", lambda self: None))
        stack.enter_context(patch.object(GPT, "_init_weights", lambda self, module: None))
        yield


def _fill(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw_into(name, parameter.numpy())


class Original(Builder):
    """Builds a case's network and times it."""

    def __init__(self) -> None:
        super().__init__()
        self._past: list[torch.Tensor] = []
        torch.set_grad_enabled(False)

    def describe(self) -> list[str]:
        """Return versions and threads."""
        return [f"torch {torch.__version__}", f"{torch.get_num_threads()} threads"]

    def make(self, case: str) -> torch.nn.Module:
        """Return the network of a case, filled."""
        c = CASES[case]
        with _bare():
            model = GPT(**c.gpt) if c.gpt else _vqgan(c.model)
        _fill(model)
        return model

    def reconstruct(self, case: str) -> float:
        """Time one reconstruction."""
        side = CASES[case].side
        x = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
        return seconds(lambda: self.model.decode(self.model.encode(torch.from_numpy(x))[0]))

    def prepare(self, case: str, past: int = 0) -> None:
        """Make the past that sample_with_past would hold at this length.

        Each token of it takes and gives back what its step would: where the heap has other holes
        than a run leaves, later steps have up to twice the page faults.
        """
        c, gpt = CASES[case], CASES[case].gpt
        shape = (gpt["n_layer"], 2, c.batch, gpt["n_head"], 1, gpt["n_embd"] // gpt["n_head"])
        self._case = c
        self._past = self._past[:past] if self._past and self._past[0].shape == shape else []
        token = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for before in range(len(self._past), past):
            joined = torch.empty(*shape[:3], before + 1, gpt["n_embd"])
            present = []
            for layer in token:
                present.append(layer.clone())
                pair = [torch.empty(c.batch, before + 1, gpt["n_embd"]) for _ in range(2)]
                del pair  # keys and values: the next layer's take the same memory
            self._past.append(torch.stack(present))
            del joined  # only now, as in a step: no other tensor must take its place
        self._tokens = torch.zeros((c.batch, 1), dtype=torch.long)

    def settle(self) -> None:
        """Bring the heap to where a run's first windows bring it.

        Holes that building has left in it have room for some of the large tensors, so the windows
        of a fresh process may have fewer page faults than later ones and take less time. Few layers
        close these holes as all do.
        """
        with patch.object(self.model, "blocks", self.model.blocks[:SETTLING_LAYERS]):
            self.advance(SETTLING_WINDOWS)

    def advance(self, count: int) -> list[float]:
        """Time each of the next tokens of the case that was prepared."""
        next_token = self._window if self._case.cond > 1 else self._step
        return [seconds(next_token) for _ in range(count)]

    def _window(self) -> None:
        """Do a token of scripts/sample_conditional.py: a pass over the whole window."""
        tokens = torch.randint(0, 1024, (self._case.batch, 2 * 256 - 1))
        logits, _ = self.model(tokens)
        logits = logits[:, -256:][:, 100]
        _draw(logits, self._case.top_k)

    def _step(self) -> None:
        """Do a token of sample_with_past, whose loop keeps what each step returns."""
        logits, _, present = self.model.forward_with_past(
            self._tokens, past=self._past or None, past_length=len(self._past)
        )
        self._past.append(present)
        self._tokens = _draw(logits[:, -1], self._case.top_k)

    def save(self, folder: str) -> None:
        """Write a checkpoint of the large transformer."""
        self.forget()
        with _bare():
            model = _celebahq()
        _fill(model)
        torch.save({"state_dict": model.state_dict()}, Path(folder) / "last.ckpt")

    def load(self, folder: str) -> float:
        """Time building the model and loading that checkpoint, as the original's scripts do."""
        self.forget()

        def work() -> None:
            model = _celebahq()
            saved = torch.load(Path(folder) / "last.ckpt", map_location="cpu", weights_only=True)
            model.load_state_dict(saved["state_dict"])
            self.model = model.eval()

        return seconds(work)


def _draw(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    logits = top_k_top_p_filtering(logits, top_k=top_k)
    return torch.multinomial(torch.softmax(logits, -1), 1)


if __name__ == "__main__":
    original = Original()
    names = ("describe", "build", "reconstruct", "prepare", "settle", "advance", "save", "load")
    serve({name: getattr(original, name) for name in names})

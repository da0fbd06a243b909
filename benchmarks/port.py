"""The first port's side of the comparison: MegEngine/Models' classes, untuned, as published.

Transformers run in the port's own sampling loops, one token of them at a time. Its VQGANs are left
out of those, as on our side: constants stand for them.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent
# The folder itself: the package around it imports other models, and what they need.
sys.path[:0] = [str(Path(sys.argv[1]) / "official" / "multimodal"), str(ROOT)]

import megengine as mge  # noqa: E402
import numpy as np  # noqa: E402
import taming_transformer as port  # noqa: E402
from taming_transformer.cond_transformer import SOSProvider  # noqa: E402
from taming_transformer.mingpt import GPT, GPTConfig, sample_with_past  # noqa: E402

from benchmarks import agreement  # noqa: E402
from benchmarks.cases import CASES, Case  # noqa: E402
from benchmarks.weights import drawn  # noqa: E402
from benchmarks.worker import Builder, seconds, serve  # noqa: E402
from official.multimodal.taming_transformer.layouts import megengine_names  # noqa: E402
from official.multimodal.taming_transformer.zoo import expected_shapes  # noqa: E402

BUILDERS = {"drin_256": port.drin_transformer, "sflckr_64x42": port.s_flckr_transformer}
ATTEMPT = 64  # tokens of a whole run that are tried for real
TRIES = 20  # of one step: its draws fail at random


def said(error: Exception) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def guarded(work: Callable[..., Any]) -> Callable[..., Any]:
    """Answer with the error that ends the work."""

    def call(**arguments: Any) -> Any:
        try:
            return work(**arguments)
        except Exception as error:
            return {"crash": said(error)}

    return call


def _fill(model: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Draw the weights that our side draws; ``shapes`` has the original's names."""
    names = {theirs: name for name, theirs in megengine_names(shapes).items()}

    def value(name: str, parameter: Any) -> np.ndarray:
        if name.endswith("attn.mask"):
            return parameter.numpy()
        ours = names[name]
        return drawn(ours, shapes[ours]).reshape(parameter.shape)

    model.load_state_dict(value)


def _sampled(gpt: dict[str, int]) -> Any:
    """Return a transformer inside the class that its samplers take, without VQGANs."""
    renamed = {name.replace("n_embd", "n_embed"): value for name, value in gpt.items()}
    condition = SOSProvider(0)
    condition.task_type = "depth"
    transformer = GPT(GPTConfig(**renamed))
    shapes = {name: tuple(p.shape) for name, p in transformer.named_parameters()}
    _fill(transformer, shapes)
    return port.Net2NetTransformer(transformer, SOSProvider(0), condition)


class At:
    """Stands before a transformer and gives it the past of a later step."""

    def __init__(self, gpt: Any, past: list[Any]) -> None:
        self._gpt, self._past = gpt, past

    def forward_with_past(self, idx: Any, **_: Any) -> Any:
        """Do the step."""
        return self._gpt.forward_with_past(
            idx, past=self._past or None, past_length=len(self._past)
        )


class Port(Builder):
    """Builds a case's network and times it."""

    def describe(self) -> list[str]:
        """Return version and device."""
        return [f"MegEngine {mge.__version__}", f"device: {mge.get_default_device()}"]

    def make(self, case: str) -> Any:
        """Return the network of a case, filled."""
        c = CASES[case]
        if c.gpt:
            return _sampled(c.gpt)
        model = getattr(port, c.model)()
        _fill(model, expected_shapes(c.model))
        return model

    def reconstruct(self, case: str) -> float:
        """Time one reconstruction."""
        x = mge.Tensor(agreement.picture(CASES[case]))
        return seconds(lambda: self.model.decode(self.model.encode(x)[0]).numpy())

    def output(self, case: str, path: str) -> None:
        """Write what the network makes of the inputs that both sides get."""
        c = CASES[case]
        if c.gpt:
            logits = self.model.transformer(mge.Tensor(agreement.tokens()))[0]
            np.savez(path, logits=logits.numpy())
            return
        latent = self.model.quant_conv(self.model.encoder(mge.Tensor(agreement.picture(c))))
        h, w = latent.shape[2:]
        indices = mge.Tensor(agreement.codes(h, w).ravel())
        z_q = self.model.quantize.get_codebook_entry(indices, (1, h, w, self.model.embed_dim))
        np.savez(path, latent=latent.numpy(), picture=self.model.decode(z_q).numpy())

    def _window_token(self, c: Case) -> float:
        """Time the last token of the conditional sampler's loop; all tokens cost the same."""
        h, w = c.shape
        indices = mge.Tensor(np.zeros((1, h, w), np.int32))
        with tempfile.TemporaryDirectory() as folder:
            sampler = port.ConditionalSampler(
                self.model, top_k=c.top_k, update_every=10**9, root=folder
            )
            return seconds(lambda: sampler.sample(w - 1, h - 1, indices, indices, (1, 256, h, w)))

    def prepare(self, case: str, past: int = 0) -> None:
        """Make the past that sample_with_past would hold at this length."""
        c, gpt = CASES[case], CASES[case].gpt
        shape = (gpt["n_layer"], 2, c.batch, gpt["n_head"], 1, gpt["n_embd"] // gpt["n_head"])
        self._step = None  # its past must not be there twice
        rng = np.random.default_rng(0)
        pieces = [mge.Tensor(rng.standard_normal(shape, np.float32)) for _ in range(past)]
        self._case, self._step = c, At(self.model.transformer, pieces)

    def advance(self, count: int) -> list[float]:
        """Time tokens of the case that was prepared; its past stays, as each draw may fail."""
        return [self._token(self._case) for _ in range(count)]

    def _token(self, c: Case) -> float:
        """Time one token: a window, or a step of sample_with_past, again where its draw fails."""
        if c.cond > 1:
            return self._window_token(c)
        start = mge.Tensor(np.zeros((c.batch, 1), np.int32))

        def work() -> None:
            sample_with_past(start, self._step, 1, top_k=c.top_k, top_p=1.0).numpy()

        for _ in range(TRIES - 1):
            with suppress(Exception):
                return seconds(work)
        return seconds(work)

    def attempt(self, case: str) -> str | None:
        """Sample as a user would, one map's cell or the first tokens; return what goes wrong."""
        if case in BUILDERS:
            return self._attempt_map(case)
        c, tokens = CASES[case], [0]
        start = mge.Tensor(np.zeros((c.batch, 1), np.int32))
        try:
            sample_with_past(
                start, self.model.transformer, ATTEMPT, top_k=c.top_k, top_p=1.0,
                callback=lambda n: tokens.append(n + 1),
            ).numpy()  # fmt: skip
        except Exception as error:
            return f"at token {tokens[-1]} of {c.shape[0] * c.shape[1]}: {said(error)}"
        return None

    def _attempt_map(self, case: str) -> str | None:
        self.forget()
        with tempfile.TemporaryDirectory() as folder:
            sampler = port.ConditionalSampler(BUILDERS[case](), kernel_size=1, root=folder)
            channels = 1 if sampler.task_type == "depth" else sampler.n_label
            try:
                sampler(mge.Tensor(np.zeros((1, channels, 16, 16), np.float32)))
            except Exception as error:
                return f"at the call: {said(error)}"
        return None

    def save(self, folder: str) -> None:
        """Write the weights of the large transformer as the port's files hold them."""
        self.forget()
        mge.save(port.celebahq_transformer().state_dict(), str(Path(folder) / "last.ckpt"))

    def load(self, folder: str) -> float:
        """Time building the model and loading that file, as ``pretrained=True`` does."""
        self.forget()

        def work() -> None:
            model = port.celebahq_transformer()
            model.load_state_dict(mge.load(str(Path(folder) / "last.ckpt")))
            self.model = model.eval()

        return seconds(work)


if __name__ == "__main__":
    side = Port()
    names = ("describe", "build", "reconstruct", "output", "prepare", "advance",
             "attempt", "save", "load")  # fmt: skip
    serve({name: guarded(getattr(side, name)) for name in names})

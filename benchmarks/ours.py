"""Our side of the comparison: MegEngine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks import agreement  # noqa: E402
from benchmarks.cases import CASES, Case  # noqa: E402
from benchmarks.plan import Pass, our_passes  # noqa: E402
from benchmarks.weights import draw_into, drawn  # noqa: E402
from benchmarks.worker import Builder, seconds, serve  # noqa: E402
from official.multimodal.taming_transformer.checkpoint import (  # noqa: E402
    TensorInfo,
    write_stream,
)
from official.multimodal.taming_transformer.config import GPTConfig  # noqa: E402
from official.multimodal.taming_transformer.kv_cache import TAIL, Segment  # noqa: E402
from official.multimodal.taming_transformer.parameters import fill  # noqa: E402
from official.multimodal.taming_transformer.runtime import tune_cpu  # noqa: E402
from official.multimodal.taming_transformer.sampling import SamplingParams, draw  # noqa: E402


class Ours(Builder):
    """Builds a case's network and times it."""

    def __init__(self) -> None:
        super().__init__()
        self.tuning = tune_cpu()
        self._pass = Pass(0, 0, 0, 0)

    def describe(self) -> list[str]:
        """Return what tuning was done."""
        return list(self.tuning.done)

    def make(self, case: str) -> Any:
        """Return the network of a case, filled."""
        from official.multimodal.taming_transformer import zoo
        from official.multimodal.taming_transformer.gpt import GPT

        c = CASES[case]
        model = GPT(GPTConfig(**c.gpt)) if c.gpt else zoo.skeleton(c.model)
        fill(model, draw_into)
        return model

    def reconstruct(self, case: str) -> float:
        """Time one reconstruction."""
        from megengine import Tensor

        x = agreement.picture(CASES[case])
        return seconds(lambda: self.model(Tensor(x)).numpy())

    def output(self, case: str, path: str) -> None:
        """Write what the network makes of the inputs that both sides get."""
        from megengine import Tensor

        if CASES[case].gpt:
            np.savez(path, logits=self.model(Tensor(agreement.tokens())).numpy())
            return
        latent = self.model.encode_to_prequant(Tensor(agreement.picture(CASES[case]))).numpy()
        picture = self.model.decode_code(Tensor(agreement.codes(*latent.shape[2:]))).numpy()
        np.savez(path, latent=latent, picture=picture)

    def prepare(self, case: str, shape: Sequence[int]) -> None:
        """Make the past of a pass: as long as it would be, of numbers that mean nothing.

        It begins with the condition and lies in the runs that it has after growing token by token.
        """
        before, p = self._pass, Pass(*shape)
        self._pass, self._case = p, CASES[case]
        condition = 0 if p.shared else min(self._case.cond, p.past)
        grows = (before.batch, before.shared) == (p.batch, p.shared) and before.past <= p.past
        if not grows or before.past < condition:
            self._past = self.model.new_cache()
            if p.shared:
                self._remember(1, p.shared)
                self._past.freeze()
            if condition:
                self._remember(p.batch, condition)
            before = Pass(p.batch, p.shared, condition, 0)
        past, closed = before.past, condition if condition >= TAIL else 0
        while past < p.past:
            whole_run = (past - closed) % TAIL == 0 and past + TAIL <= p.past
            past += self._remember(p.batch, TAIL if whole_run else 1)

    def _remember(self, batch: int, length: int) -> int:
        from megengine import Tensor

        c = self.model.config
        shape = (batch, c.n_head, length, c.n_embd // c.n_head)
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        if batch > 1 or self._case.cond > 1:  # else all steps pass through NumPy, as do their pasts
            values = Tensor(values)
        keys = values.reshape(batch, c.n_head, c.n_embd // c.n_head, length)
        for layer in range(c.n_layer):
            self._past.extend(layer, Segment(keys + layer, values - layer))
        return length

    def one_pass(self) -> float:
        """Time the prepared pass and the draw that follows it."""
        p, params = self._pass, SamplingParams(top_k=self._case.top_k)
        tokens = np.random.default_rng(p.new).integers(0, 1024, (p.batch, p.new))

        def work() -> None:
            logits = self.model.next_logits(tokens, self._past.fork())
            if p.shared or self._case.cond == 1:  # the pass over a map's tokens draws nothing
                draw(logits, params, seed=0, samples=range(p.batch), position=p.past)

        return seconds(work)

    def begin(self, case: str, past: int = 0) -> None:
        """Begin a run of the sampler, or at a later token of one: those before are made up."""
        if past:
            self.prepare(case, list(our_passes(CASES[case]))[past])
            self._run = self._grow()
        else:
            self._past, self._pass = None, Pass(0, 0, 0, 0)
            self._run = _sample(self.model, CASES[case])

    def advance(self, count: int) -> list[float]:
        """Time each of the next tokens of the run that has begun."""
        return [seconds(lambda: next(self._run)) for _ in range(count)]

    def _grow(self) -> Iterator[None]:
        """Do the step that was prepared, and those that follow it."""
        params = SamplingParams(top_k=self._case.top_k)
        samples = range(self._pass.batch)
        tokens = np.zeros((len(samples), 1), int)
        while True:
            logits = self.model.next_logits(tokens, self._past)
            past = self._pass.past
            tokens = draw(logits, params, seed=0, samples=samples, position=past)[:, None]
            self._pass = self._pass._replace(past=past + 1)
            yield

    def load(self, folder: str) -> float:
        """Time building the model of a case from its file."""
        from official.multimodal.taming_transformer import zoo

        self.forget()
        path = Path(folder) / "weights.safetensors"
        return seconds(lambda: setattr(self, "model", zoo.celebahq_transformer(weights=path)))

    def save(self, folder: str) -> None:
        """Write the weights of the large transformer as safetensors, one held at a time."""
        from official.multimodal.taming_transformer import zoo

        shapes = zoo.expected_shapes("celebahq_transformer")
        infos = {name: TensorInfo(shape, "float32") for name, shape in shapes.items()}
        path = Path(folder) / "weights.safetensors"
        write_stream(path, infos, lambda name: drawn(name, shapes[name]))


def _sample(gpt: Any, case: Case) -> Iterator[None]:
    """Run the sampler as a library's user does, a token at a time."""
    from official.multimodal.taming_transformer import window

    rng = np.random.default_rng(0)
    if case.cond > 1:
        condition = window.map_condition(rng.integers(0, 1024, (1, *case.shape)))
    else:
        condition = window.fixed_condition(np.zeros((1, 1), int))
    steps = window.sample_window(
        gpt,
        condition,
        np.zeros((case.batch, *case.shape), int),
        params=SamplingParams(top_k=case.top_k),
        seed=0,
        samples=range(case.batch),
        n_embed=case.gpt["vocab_size"],
        cache_memory=case.cache_memory,
    )
    for _ in steps:
        yield


if __name__ == "__main__":
    ours = Ours()
    names = ("describe", "build", "reconstruct", "output", "prepare", "one_pass", "begin",
             "advance", "load", "save")  # fmt: skip
    serve({name: getattr(ours, name) for name in names})

import numpy as np
import pytest

from benchmarks.cases import CASES
from benchmarks.plan import Pass, our_passes, representatives, spread
from official.multimodal.taming_transformer.window import map_condition, sample_window
from tests.tiny import tiny_gpt


def token_passes(passes) -> float:
    return sum(p.batch * p.new * count for p, count in passes.items())


def test_the_dry_run_makes_the_passes_of_a_real_run(monkeypatch):
    from dataclasses import replace

    from official.multimodal.taming_transformer.sampling import SamplingParams

    gpt = tiny_gpt(50, 512, n_layer=1, n_head=1, n_embd=8)
    shape = {"vocab_size": 50, "block_size": 512, "n_layer": 1, "n_head": 1, "n_embd": 8}
    case = replace(CASES["sflckr_64x42"], gpt=shape, shape=(18, 21), cache_memory=100_000)
    made: list[tuple[int, int, int]] = []
    forward = type(gpt).forward

    def counted(self, idx, cache=None, *, last=False):
        made.append((*idx.shape, cache.length))
        return forward(self, idx, cache, last=last)

    monkeypatch.setattr(type(gpt), "forward", counted)
    steps = sample_window(
        gpt, map_condition(np.zeros((1, 18, 21), int)), np.zeros((1, 18, 21), int),
        params=SamplingParams(), seed=0, samples=[0], n_embed=50, cache_memory=100_000,
    )  # fmt: skip
    assert sum(1 for _ in steps) == 18 * 21
    expected: list[tuple[int, int, int]] = []
    for p, count in our_passes(case).items():
        expected += [(p.batch, p.new, p.shared + p.past)] * count
    assert sorted(made) == sorted(expected)


@pytest.mark.parametrize(
    ("case", "expected"), [("drin_256", 511), ("sflckr_64x42_unbounded", 524_293)]
)
def test_token_passes_are_those_that_exactness_needs(case, expected):
    assert token_passes(our_passes(CASES[case])) == expected


@pytest.mark.parametrize("case", [name for name, c in CASES.items() if c.gpt])
def test_few_passes_stand_for_all(case):
    passes = our_passes(CASES[case])
    few = representatives(passes)
    assert len(few) <= 20
    assert set(few) <= set(passes)
    assert sum(few.values()) == pytest.approx(sum(passes.values()))
    assert token_passes(few) == pytest.approx(token_passes(passes))


def test_counts_are_shared_out_as_linear_interpolation_does():
    assert spread({0: 1, 5: 2, 10: 1}, [0, 10]) == {0: 2, 10: 2}
    assert spread({2: 4}, [0, 8]) == {0: 3, 8: 1}


def test_a_pass_says_what_it_is():
    assert Pass(8, 256, 16, 1) == (8, 256, 16, 1)

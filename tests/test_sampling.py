import numpy as np
import pytest

from official.multimodal.taming_transformer.noise import check_seed, gumbel
from official.multimodal.taming_transformer.sampling import SamplingParams, draw, filter_logits


def plain_filter(logits, temperature, top_k, top_p) -> np.ndarray:
    """Probabilities after the filters, token by token: temperature, top-k with ties, top-p."""
    scaled = [float(x) / temperature for x in logits]
    kept = set(range(len(scaled)))
    if top_k is not None:
        threshold = sorted(scaled, reverse=True)[top_k - 1]
        kept = {i for i in kept if scaled[i] >= threshold}
    weights = {i: np.exp(scaled[i] - max(scaled)) for i in kept}
    total, reached, nucleus = sum(weights.values()), 0.0, []
    for i in sorted(kept, key=lambda i: -scaled[i]):
        if reached >= top_p:
            break
        nucleus.append(i)
        reached += weights[i] / total
    probabilities = np.zeros(len(scaled))
    probabilities[nucleus] = [weights[i] for i in nucleus]
    return probabilities / probabilities.sum()


def probabilities_of(filtered: np.ndarray) -> np.ndarray:
    weights = np.exp(filtered - filtered.max())
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 2, 7, 50])
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.92, 1.0])
def test_filters_equal_their_plain_version(temperature, top_k, top_p):
    rng = np.random.RandomState(0)
    for _ in range(20):
        logits = rng.standard_normal(50).astype(np.float32) * 3
        filtered = filter_logits(logits, SamplingParams(temperature, top_k, top_p))
        np.testing.assert_allclose(
            probabilities_of(filtered), plain_filter(logits, temperature, top_k, top_p), atol=1e-12
        )


def test_ties_with_the_kth_logit_stay():
    filtered = filter_logits(np.array([1.0, 3, 2, 2, 2, 0]), SamplingParams(top_k=2))
    assert np.isfinite(filtered).tolist() == [False, True, True, True, True, False]


def test_top_p_keeps_at_least_one_token():
    filtered = filter_logits(np.array([0.0, 5, 4]), SamplingParams(top_p=1e-12))
    assert np.isfinite(filtered).tolist() == [False, True, False]


def test_filters_leave_their_input_alone():
    logits = np.arange(9, dtype=np.float64)
    filter_logits(logits, SamplingParams(0.5, 3, 0.5))
    np.testing.assert_array_equal(logits, np.arange(9))


@pytest.mark.parametrize(
    "params", [SamplingParams(), SamplingParams(0.7, 12), SamplingParams(1.3, None, 0.8)]
)
def test_drawn_frequencies_follow_the_filtered_distribution(params):
    logits = np.random.RandomState(1).standard_normal(30) * 2
    p = plain_filter(logits, params.temperature, params.top_k, params.top_p)
    n = 40_000
    rows = np.broadcast_to(logits, (n, 30))
    drawn = draw(rows, params, seed=5, samples=range(n), position=3)
    counts = np.bincount(drawn, minlength=30)
    assert counts[p == 0].sum() == 0
    expected = n * p[p > 0]
    chi_squared = ((counts[p > 0] - expected) ** 2 / expected).sum()
    freedom = (p > 0).sum() - 1
    # Wilson-Hilferty: the cube root is all but normal; 4 standard deviations
    z = ((chi_squared / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / np.sqrt(2 / (9 * freedom))
    assert abs(z) < 4


def test_positions_and_samples_are_independent():
    rows = np.zeros((2000, 16))
    a = draw(rows, SamplingParams(), seed=5, samples=range(2000), position=0)
    b = draw(rows, SamplingParams(), seed=5, samples=range(2000), position=1)
    c = draw(rows, SamplingParams(), seed=6, samples=range(2000), position=0)
    for other in (b, c):
        assert 60 < (a == other).sum() < 200  # 125 expected
    table = np.histogram2d(a, b, bins=16)[0]
    assert ((table - 2000 / 256) ** 2 / (2000 / 256)).sum() < 225 + 4 * np.sqrt(2 * 225)


def test_noise_is_a_function_of_seed_sample_and_position():
    known = gumbel(2022, 37, 255, 5)
    gumbel(2022, 36, 255, 100)
    np.testing.assert_array_equal(gumbel(2022, 37, 255, 5), known)
    np.testing.assert_array_equal(gumbel(2022, 37, 255, 9)[:5], known)
    philox = np.random.Philox(key=[2022, 37], counter=[0, 0, 0, 255])
    uniform = np.random.Generator(philox).random(5)
    np.testing.assert_allclose(known, -np.log(-np.log(uniform)))
    assert gumbel(2**64 - 1, 2**63, 10**6, 3).shape == (3,)


def test_greedy_takes_the_first_of_the_largest():
    rows = np.array([[0.0, 2, 2], [5, 1, 1]])
    assert draw(rows, SamplingParams(top_k=1), seed=0, samples=[0, 1], position=0).tolist() == [
        1,
        0,
    ]


def test_greedy_draws_no_noise_even_among_ties():
    rows = np.zeros((1, 4))
    drawn = {int(draw(rows, SamplingParams(top_k=1), seed=s, samples=[0], position=0)[0])
             for s in range(20)}  # fmt: skip
    assert drawn == {0}


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", True, None, float("nan")])
def test_seeds_that_would_wrap_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be"):
        check_seed(seed)


def test_good_seeds_pass():
    assert check_seed(0) == 0
    assert check_seed(np.int64(7)) == 7
    assert check_seed(2**64 - 1) == 2**64 - 1


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_k": True},
        {"top_p": 0},
        {"top_p": 1.01},
        {"top_p": float("nan")},
    ],
)
def test_parameters_out_of_range_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SamplingParams(**bad)


def test_top_k_over_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="top_k 101 exceeds the 100 tokens"):
        SamplingParams(top_k=101).check_vocabulary(100)
    SamplingParams(top_k=100).check_vocabulary(100)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        filter_logits(np.array([0.0, value]), SamplingParams())


def test_draws_equal_the_plain_rule_for_large_vocabularies_with_ties():
    rng = np.random.RandomState(0)
    for trial in range(24):
        # few decimals: many logits tie, at the k-th and at the end of the nucleus too
        logits = np.round(rng.standard_normal((2, 2000)) * 3, trial % 4 + 1).astype(np.float32)
        params = SamplingParams(0.7, [None, 2, 50, 600][trial % 4], [1.0, 0.9, 0.3][trial % 3])
        drawn = draw(logits, params, seed=trial, samples=[3, 8], position=trial)
        for row, sample in enumerate([3, 8]):
            p = plain_filter(logits[row], params.temperature, params.top_k, params.top_p)
            with np.errstate(divide="ignore"):
                noisy = np.log(p) + gumbel(trial, sample, trial, 2000)
            assert drawn[row] == np.argmax(noisy)

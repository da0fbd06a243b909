"""Every network equals the PyTorch original, stage by stage (golden files, small networks).

The files under ``tests/golden`` were recorded by ``tests/reference/record_golden.py``; weights and
inputs are drawn anew here, and their fingerprint must be the recorded one.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests.reference import golden, ours
from tests.reference.cases import SMALL
from tests.reference.ours import TOLERANCE, Row, index_row, row

ROOT = Path(__file__).resolve().parent.parent

STAGES = {
    "vq": {"encoder", "indices", "decoder"},
    "gumbel": {"encoder", "code logits", "indices", "decoder"},
    "dvae": {"code logits", "indices", "decoder"},
    "gpt": {"layer 0", "layer 1", "logits", "logits, cached, batch 1"},
    "net2net": {"picture's indices", "condition's indices", "logits", "decoded picture"},
}


@pytest.mark.parametrize("name", list(SMALL))
def test_network_equals_the_original(name):
    case = SMALL[name]
    expected, facts = golden.load(name)
    model, weights = ours.build(case)
    assert weights == facts["weights"], "names, shapes or drawn numbers differ from the original's"
    rows = ours.compare(case, model, expected)
    assert STAGES[case.kind] <= {r.stage for r in rows}
    worse = {r.stage: r.error for r in rows if r.error > TOLERANCE}
    assert not worse


def test_golden_codes_vary():
    """More than half of each codebook occurs, so that an index has something to get wrong."""
    for name, case in SMALL.items():
        arrays, _ = golden.load(name)
        if case.kind in ("vq", "gumbel", "dvae"):
            total = case.config.get("n_embed") or case.config["vocab_size"]
            assert 2 * len(np.unique(arrays["indices"])) > total, name


def test_comparison_notices_small_errors():
    from megengine import Tensor

    expected = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    wrong = expected.copy()
    wrong[1, 1, 1] += 4e-4
    assert row("x", Tensor(expected), expected).error == 0
    assert row("x", Tensor(wrong), expected).error > TOLERANCE
    wrong[0, 0, 0] = np.nan
    assert row("x", Tensor(wrong), expected).error == np.inf
    with pytest.raises(AssertionError, match="shape"):
        row("x", Tensor(expected[:1]), expected)


def test_after_a_tie_the_logits_of_the_originals_indices_are_compared():
    case = SMALL["net2net_depth"]
    expected, _ = golden.load(case.name)
    model, _ = ours.build(case)
    expected["z_indices"][0, 5] = (expected["z_indices"][0, 5] + 1) % 32
    expected["z_margins"][0, 5] = 0
    rows = {r.stage: r for r in ours.compare(case, model, expected)}
    assert (rows["picture's indices"].error, rows["picture's indices"].ties) == (0, 1)
    assert rows["logits"].error > TOLERANCE  # the recorded logits are those of the other index


def test_comparison_forgives_ties_alone():
    from megengine import Tensor

    expected, margins = np.array([[1, 2, 3]]), np.array([[0.5, 1e-5, 0.5]])
    tie = index_row("x", Tensor([[1, 7, 3]], dtype="int32"), expected, margins)
    assert (tie.error, tie.ties) == (0, 1)
    assert index_row("x", Tensor([[1, 2, 9]], dtype="int32"), expected, margins).error > 0.3
    assert index_row("x", Tensor([[1, 7, 3]], dtype="int32"), expected, None).error > 0.3


def test_every_drawn_tensor_varies():
    """No bias, norm, position or codebook is constant, and each tensor is another one."""
    from tests.reference.draw import draw_weights

    shapes = {
        "ln_f.weight": (64,),
        "ln_f.bias": (64,),
        "pos_emb": (1, 8, 16),
        "quantize.embedding.weight": (16, 8),
        "conv.weight": (8, 4, 3, 3),
    }
    drawn = draw_weights(shapes, 1)
    assert all(len(np.unique(array)) > 0.9 * array.size for array in drawn.values())
    assert not np.array_equal(drawn["ln_f.bias"], draw_weights(shapes, 2)["ln_f.bias"])
    assert not np.array_equal(drawn["ln_f.bias"] + 1, drawn["ln_f.weight"])


def _tool():
    spec = importlib.util.spec_from_file_location("parity_tool", ROOT / "tools" / "parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_keeps_the_worst_of_each_stage():
    tool = _tool()
    rows = [
        ("a", Row("s", (1, 2), 1e-6)),
        ("b", Row("s", (3,), 0.0, 0)),
        ("a", Row("s", (4,), 2e-5)),
    ]
    assert tool.worst(rows) == [("a", rows[2][1]), ("b", rows[1][1])]
    lines = tool.markdown(tool.worst(rows)).splitlines()
    assert lines[2:] == ["| a | s | 4 | 2.0e-05 |", "| b | s | 3 | equal |"]
    assert json.loads(tool.as_json(rows))[0] == {
        "model": "a",
        "stage": "s",
        "shape": [1, 2],
        "error": 1e-6,
        "ties": None,
    }


def test_a_full_table_without_the_original_is_refused(tmp_path, capsys):
    assert _tool().main(["--full", "--python", str(tmp_path / "python")]) == 2
    assert "does not exist" in capsys.readouterr().err

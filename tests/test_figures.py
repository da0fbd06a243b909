"""The figures of the pages: what they show is what the code does."""

from __future__ import annotations

import numpy as np
import pytest
from megengine import Tensor
from PIL import Image

from official.multimodal.taming_transformer.columns import last_columns, to_columns
from official.multimodal.taming_transformer.kv_cache import KVCache
from official.multimodal.taming_transformer.window import WindowLogits, fixed_condition, frame_at
from tests.tiny import tiny_gpt
from tools import figures
from tools.diagrams.tokens import look
from tools.diagrams.window import AFTER, CELL, DRAWN, SEEN, states


def test_a_look_at_the_transformer_follows_it():
    gpt = tiny_gpt()
    tokens = np.random.RandomState(0).randint(0, 50, 23)
    found = look(gpt, tokens)
    expected = gpt(Tensor(tokens[None].astype(np.int32))).numpy()[0, -1]
    assert np.abs(found.logits - expected).max() < 1e-4
    assert found.weights.shape == (3, 4, 23)
    assert np.allclose(found.weights.sum(-1), 1, atol=1e-5)
    assert found.weights.std() > 1e-3


def test_attention_is_what_changes_the_token():
    gpt = tiny_gpt(n_layer=1)
    tokens = np.random.RandomState(1).randint(0, 50, 12)
    assert look(gpt, tokens[:1]).weights == pytest.approx(1)
    weights = look(gpt, tokens).weights[0]  # of 4 heads
    block = gpt.blocks[0]
    x = to_columns(gpt.tok_emb(Tensor(tokens[None].astype(np.int32))) + gpt.pos_emb[:, :12])
    h = block.ln1(x)
    values = block.attn.value(h).numpy().reshape(4, 8, 12)
    gathered = np.einsum("ht,hwt->hw", weights, values).reshape(1, 32).astype(np.float32)
    x = last_columns(x, 1) + block.attn.proj(Tensor(gathered))
    _, activate, contract = block.mlp
    x = x + contract(activate(block.mlp[0](block.ln2(x))))
    logits = gpt.head(gpt.ln_f(x)).numpy()[0]
    assert np.abs(logits - look(gpt, tokens).logits).max() < 1e-4


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (5, 9), (11, 19), (7, 0)])
def test_states_of_the_cells_are_those_that_the_window_sees(row, column):
    shape, side = (12, 20), 6
    frame = frame_at(row, column, shape, side, side // 2)
    found = states(row, column, frame, shape)
    assert (found == CELL).sum() == 1
    assert found[row, column] == CELL
    assert ((found == SEEN) | (found == DRAWN)).sum() == row * 20 + column
    fed: list[int] = []

    class Listener:
        def new_cache(self):
            return KVCache(1)

        def next_logits(self, tokens, cache):
            fed.extend(np.asarray(tokens).ravel().tolist())
            return np.zeros((1, 4), np.float32)

    numbers = np.arange(240).reshape(1, *shape)
    condition = fixed_condition(np.array([[-1]]))
    cells = (row - frame.top) * frame.width + column - frame.left
    WindowLogits(Listener(), condition, 1, 0)(frame, numbers, cells)
    assert fed[0] == -1  # the condition comes first
    assert sorted(fed[1:]) == np.flatnonzero(found == SEEN).tolist()
    assert (found == AFTER).any() == ((row, column) != (11, 19))


def test_figures_that_need_one_model_are_drawn(tmp_path, capsys):
    status = figures.main(["codes", "window", "-o", str(tmp_path), "--untrained"])
    assert status == 0, capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.png", "window.png"]
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.size[0] > 1000
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50


@pytest.mark.slow
def test_figures_that_need_a_run_are_drawn(tmp_path, capsys):
    names = ["codebook", "maps", "run", "attention", "filters"]
    assert figures.main([*names, "-o", str(tmp_path), "--untrained"]) == 0, capsys.readouterr().err
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(names)


def test_an_unknown_figure_is_a_wrong_call(capsys):
    with pytest.raises(SystemExit) as ended:
        figures.main(["windows"])
    assert ended.value.code == 2
    assert "codes, codebook" in capsys.readouterr().err


def test_missing_examples_are_one_line(tmp_path, capsys):
    asked = ["codes", "-o", str(tmp_path), "--examples", str(tmp_path), "--untrained"]
    assert figures.main(asked) == 1
    assert "scene_photo.png" in capsys.readouterr().err

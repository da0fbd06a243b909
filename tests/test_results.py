"""How results and bars show themselves in a notebook."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.fast import FastSampler
from official.multimodal.taming_transformer.results import SamplingResult, sheet
from tests.tiny_models import tiny_model


def numbered(n: int, height: int = 6, width: int = 8) -> np.ndarray:
    """Pictures of one colour each: their number."""
    return np.broadcast_to(
        np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None], (n, height, width, 3)
    )


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 64, 70])
def test_a_sheet_holds_every_picture_once_and_in_order(n):
    laid = sheet(numbered(n))
    assert laid.dtype == np.uint8
    rows, columns = (laid.shape[0] + 2) // 8, (laid.shape[1] + 2) // 10
    assert laid.shape == (rows * 8 - 2, columns * 10 - 2, 3)
    found = [
        laid[8 * row + 1, 10 * column + 1, 0] for row in range(rows) for column in range(columns)
    ]
    shown = min(n, 64)
    assert found == [*range(1, shown + 1), *[255] * (rows * columns - shown)]
    for number, value in enumerate(found[:shown]):
        row, column = divmod(number, columns)
        assert (laid[8 * row : 8 * row + 6, 10 * column : 10 * column + 8] == value).all()


@pytest.mark.parametrize(("n", "rows"), [(4, 1), (8, 2), (9, 3), (16, 2), (24, 3), (36, 4)])
def test_a_sheet_has_full_rows_where_it_can(n, rows):
    assert sheet(numbered(n, 8, 8)).shape[:2] == (rows * 10 - 2, n // rows * 10 - 2)


def test_a_sheet_is_never_wider_than_a_screen():
    assert sheet(numbered(3, 100, 1500)).shape[1] <= 2048
    wide = np.full((1, 300, 4096, 3), 77, np.uint8)
    assert sheet(wide).shape == (150, 2048, 3)
    assert (sheet(wide) == 77).all()
    alone = np.random.RandomState(0).randint(0, 256, (1, 9, 700, 3)).astype(np.uint8)
    assert np.array_equal(sheet(alone), alone[0])


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3))],
)
def test_a_sheet_of_something_else_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        sheet(wrong)


def test_results_show_themselves():
    pictures = np.array(numbered(2))
    result = SamplingResult(pictures, np.zeros((2, 3, 4), np.int32), 5, {})
    assert np.array_equal(opened(result._repr_png_()), sheet(pictures))
    assert repr(result) == "SamplingResult(seed=5, files=())"


def test_pictures_by_the_thousand_show_the_first(tmp_path):
    settings = {"num_samples": 3, "seed": 1, "top_k": 20, "progress": False, "steps": None}
    sampler = FastSampler(tiny_model("unconditional"), 2, **settings)
    result = sampler(h=3, w=4)
    assert np.array_equal(opened(result._repr_png_()), sheet(result.pictures))
    on_disk = FastSampler(tiny_model("unconditional"), 2, root=tmp_path, **settings)(h=3, w=4)
    assert on_disk.pictures is None
    assert on_disk._repr_png_() is None
    assert len(on_disk.files) == 3

"""What the page takes from a browser: bytes within bounds, and never the name of a file."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.web import uploads
from tools.web.examples import Examples
from tools.web.shelf import Shape
from tools.web.uploads import Limits

LIMITS = Limits(file_bytes=100_000, pixels=300_000, area=256 * 256)
SHAPE = Shape(side=64, factor=8, parameters=1, n_labels=3, names=("sky", "hill", "meadow"))


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def photo(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], 2).astype(np.uint8)


def huge_png(width: int, height: int) -> bytes:
    """Return a small file that says it has very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def sent(array: np.ndarray, name: str = "picture") -> dict:
    return {name: uploads.data_url(array)}


def test_a_photograph_gets_the_models_side_and_whole_cells():
    made = uploads.uploaded_photo(png(photo(150, 201)), LIMITS, side=64, factor=8)
    assert (made.dtype, made.shape) == (np.uint8, (64, 80, 3))


@pytest.mark.parametrize(
    ("size", "expected"), [((30, 900), (64, 128, 3)), ((900, 30), (128, 64, 3))]
)
def test_long_pictures_are_cut_before_they_are_enlarged(size, expected):
    assert uploads.uploaded_photo(png(photo(*size)), LIMITS, side=64, factor=8).shape == expected


@pytest.mark.parametrize("data", [huge_png(600, 600), huge_png(30_000, 30_000)])
def test_too_many_pixels_are_refused_from_the_header(data):
    with pytest.raises(ValueError, match=r"the picture is too large: .* at most 0.3 million"):
        uploads.opened(data, LIMITS)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.4 not a picture", b"\0" * 1000])
def test_other_files_are_refused(data):
    with pytest.raises(ValueError, match="no picture that can be read; expected one of PNG"):
        uploads.opened(data, LIMITS)


def test_a_truncated_picture_is_refused():
    whole = png(photo(90, 90))
    with pytest.raises(ValueError, match="truncated or broken"):
        uploads.uploaded_photo(whole[: len(whole) // 2], LIMITS, side=64, factor=8)


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "file:///etc/passwd", "../../weights", "data:,%00"]
)
def test_the_name_of_a_file_is_no_file(text):
    with pytest.raises(ValueError, match=r"did not arrive whole|no picture|there is no file"):
        uploads.opened(uploads.bytes_of(text, 1000, "file"), LIMITS)


def test_too_large_a_file_is_refused_before_it_is_decoded():
    text = base64.b64encode(b"x" * 100_010).decode()
    with pytest.raises(ValueError, match="the file is too large; expected at most"):
        uploads.bytes_of(text, LIMITS.file_bytes, "file")


@pytest.mark.parametrize("value", [None, "", 5, [], {}, {"file": None}, {"file": 3}])
def test_values_of_other_kinds_are_told_as_missing(value):
    with pytest.raises(ValueError, match="there is no file yet"):
        uploads.bytes_of(uploads.field_of(value, "file"), 1000, "file")


def test_what_is_sent_with_a_run_comes_back_as_it_was():
    picture, depth = photo(64, 72), (photo(64, 72)[:, :, 0].astype(np.uint16) * 257)
    assert np.array_equal(uploads.sent_picture(sent(picture), LIMITS), picture)
    assert np.array_equal(uploads.sent_depth(sent(depth, "source"), LIMITS), depth)
    cells = picture[:, :, 0] % 3
    value = {"width": 72, "height": 64, "cells": uploads.packed(cells)}
    assert np.array_equal(uploads.sent_cells(value, LIMITS, 3), cells)


def test_what_is_sent_with_a_run_is_bounded_too():
    with pytest.raises(ValueError, match="more than this page works on; expected at most 256x256"):
        uploads.sent_picture(sent(photo(300, 300)), LIMITS)
    cells = {"width": 4000, "height": 4000, "cells": "AAAA"}
    with pytest.raises(ValueError, match="expected at most 256x256"):
        uploads.sent_cells(cells, LIMITS, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"width": 0}, "there is no map yet"),
        ({"width": "8"}, "there is no map yet"),
        ({"width": True}, "there is no map yet"),
        ({"height": -8}, "there is no map yet"),
        ({"width": 9}, "has 64 cells; expected 9x8"),
        ({"cells": "A!"}, "did not arrive whole"),
        ({"cells": uploads.packed(np.full((8, 8), 3))}, "the label 3; expected 0..2"),
    ],
)
def test_cells_must_fit(change, match):
    value = {"width": 8, "height": 8, "cells": uploads.packed(np.zeros((8, 8)))}
    with pytest.raises(ValueError, match=match):
        uploads.sent_cells({**value, **change}, LIMITS, 3)


def test_label_maps_keep_their_ids_and_photographs_are_none():
    ids = np.repeat(np.arange(3, dtype=np.uint8), 30)[:, None].repeat(120, 1)
    made = uploads.uploaded_labels(png(ids), LIMITS, 3, side=64, factor=8, shift=False)
    assert made.shape == (64, 80)
    assert sorted(np.unique(made)) == [0, 1, 2]
    with pytest.raises(ValueError, match="not a label map"):
        uploads.uploaded_labels(png(photo(90, 90)), LIMITS, 3, side=64, factor=8, shift=False)
    with pytest.raises(ValueError, match="out of range"):
        uploads.uploaded_labels(png(ids + 1), LIMITS, 3, side=64, factor=8, shift=False)


def test_depth_keeps_its_16_bits_and_can_be_turned():
    depth = (np.mgrid[:80, :80][0] * 800).astype(np.uint16)
    near = uploads.uploaded_depth(png(depth), LIMITS, side=64, factor=8, invert=False)
    far = uploads.uploaded_depth(png(depth), LIMITS, side=64, factor=8, invert=True)
    assert (near.dtype, near.shape) == (np.uint16, (64, 64))
    assert near[0, 0] < 1000
    assert near[-1, 0] > 64_000
    assert np.abs(near.astype(int) + far - 65_535).max() <= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Examples as the project ships them, small."""
    ids = Image.fromarray((photo(64, 64)[:, :, 0] // 22).astype(np.uint8) % 3, "P")
    ids.putpalette([1, 2, 3, 40, 50, 60, 70, 80, 90])
    ids.save(tmp_path / "scene_map.png")
    (tmp_path / "scene_photo.png").write_bytes(png(photo(64, 64)))
    return tmp_path


def test_examples_give_the_board_its_map_and_colours(folder):
    board = Examples(folder, LIMITS).board("labels", SHAPE)
    assert (board["kind"], board["width"], board["height"]) == ("labels", 64, 64)
    assert board["example"]
    assert board["labels"][1] == {"name": "hill", "colour": [40, 50, 60]}
    assert uploads.sent_cells(board, LIMITS, 3).max() == 2


def test_missing_and_broken_examples_are_coped_with(folder):
    (folder / "scene_photo.png").write_bytes(b"broken")
    examples = Examples(folder, LIMITS)
    for kind in ("photo", "mask", "depth"):
        board = examples.board(kind, SHAPE)
        assert (board["width"], board["example"]) == (0, False)
    plain = Examples(folder / "nowhere", LIMITS).board("labels", SHAPE)
    assert not plain["example"]
    assert sorted(np.unique(uploads.sent_cells(plain, LIMITS, 3))) == [0, 2]  # sky over meadow


def test_the_example_map_is_not_offered_to_models_with_other_labels(folder):
    other = Shape(side=64, factor=8, parameters=1, n_labels=182)
    board = Examples(folder, LIMITS).board("labels", other)
    assert not board["example"]
    assert len(board["labels"]) == 182
    assert board["labels"][7]["name"] == "7"


def test_a_painted_map_gets_another_side(folder):
    examples = Examples(folder, LIMITS)
    wide = examples.resized(SHAPE, 128)
    board = examples.repainted(examples.board("labels", SHAPE), wide)
    assert (board["width"], board["height"], board["side"]) == (128, 128, 128)
    before = uploads.sent_cells(examples.board("labels", SHAPE), LIMITS, 3)
    assert np.array_equal(uploads.sent_cells(board, LIMITS, 3), np.kron(before, np.ones((2, 2))))
    for side in (100, 512, "128", [1]):
        with pytest.raises(ValueError, match="expected one of"):
            examples.resized(SHAPE, side)

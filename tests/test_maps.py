"""Depth and coordinate maps: numbers stay numbers, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.maps import (
    colourise_depth,
    coordinates,
    read_depth,
    read_labels,
    resize_and_crop,
    scale_map,
    to_batch,
)
from official.multimodal.taming_transformer.palette import depth_colours


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 150, (20, 31)).astype(np.uint8)


@pytest.fixture
def depth() -> np.ndarray:
    return np.random.default_rng(1).normal(1000, 300, (20, 31)).astype(np.float32)


def _labels_refused(source: object, words: str, error: type[Exception] = ValueError, **options):
    with pytest.raises(error, match=words) as caught:
        read_labels(source, options.pop("n_labels", 182), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _depth_refused(source: object, words: str, error: type[Exception] = ValueError, **options):
    with pytest.raises(error, match=words) as caught:
        read_depth(source, **options)
    assert "\n" not in str(caught.value)


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("pickle-was-run"),))


def test_npy_files_are_never_unpickled_nor_trusted(tmp_path, monkeypatch, ids):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "trap.npy", np.array([[_Trap()]], object), allow_pickle=True)
    _labels_refused(tmp_path / "trap.npy", "trap.npy' is no .npy array")
    _depth_refused(tmp_path / "trap.npy", "trap.npy' is no .npy array")
    assert not (tmp_path / "pickle-was-run").exists()
    np.save(tmp_path / "a.npy", ids)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-1])
    _labels_refused(tmp_path / "short.npy", "short.npy' is no .npy array")
    lying = whole.replace(b"(20, 31)", b"(2000000000, 3100000000)")
    (tmp_path / "lying.npy").write_bytes(lying)
    _depth_refused(tmp_path / "lying.npy", "lying.npy")
    (tmp_path / "text.npy").write_text("hello")
    _labels_refused(tmp_path / "text.npy", "text.npy' is no .npy array")
    np.save(tmp_path / "cube.npy", np.zeros((4, 5, 6), np.uint8))
    _labels_refused(tmp_path / "cube.npy", r"shape \(4, 5, 6\)")
    _labels_refused(tmp_path / "a.npy", "max_pixels=619", max_pixels=619)
    assert np.array_equal(read_labels(tmp_path / "a.npy", 150), ids)


# --- depth ---------------------------------------------------------------------------------------


def _original_depth(depth: np.ndarray) -> np.ndarray:
    depth = (depth - depth.min()) / max(1e-8, depth.max() - depth.min())
    return 2.0 * depth - 1.0


def test_rgba_bytes_are_float32_depth(tmp_path, depth):
    rgba = np.frombuffer(depth.astype("<f4").tobytes(), np.uint8).reshape(20, 31, 4)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", rgba, depth, Image.open(tmp_path / "a.png")):
        read = read_depth(source)
        assert read.dtype == np.float32
        assert np.array_equal(read, _original_depth(depth))
    assert read.min() == -1.0
    assert read.max() == 1.0


def test_every_container_gives_the_same_depth(tmp_path, depth):
    whole = np.rint(depth).clip(0, 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), whole)
    cv2.imwrite(str(tmp_path / "deep.tif"), whole)
    Image.fromarray(whole.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(whole.astype(np.int32)).save(tmp_path / "int.tif")
    np.save(tmp_path / "half.npy", whole.astype(np.float64))
    np.save(tmp_path / "whole.npy", whole)
    expected = _original_depth(whole.astype(np.float64))
    for name in ("deep.png", "deep.tif", "float.tif", "int.tif", "half.npy", "whole.npy"):
        assert np.abs(read_depth(tmp_path / name) - expected).max() < 1e-6, name
    grey = (whole // 16).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.abs(read_depth(tmp_path / "grey.png") - _original_depth(grey * 1.0)).max() < 1e-6


def test_invert_turns_near_and_far_round(depth):
    assert np.array_equal(read_depth(depth, invert=True), -read_depth(depth))


def test_denominator_is_bounded_as_in_the_original():
    flat = np.array([[0.0, 1e-9]], np.float64)
    assert np.allclose(read_depth(flat), [[-1.0, -0.8]])


def test_depth_that_says_nothing_is_refused(tmp_path, depth):
    holed = depth.copy()
    holed[3, 4] = np.nan
    holed[5, 5] = np.inf
    _depth_refused(holed, "2 values that are NaN or infinite, the first at row 3, column 4.*fill")
    _depth_refused(np.full((4, 4), 7.0), "7.0 everywhere")
    _depth_refused(np.zeros((0, 4)), "empty")
    _depth_refused(np.array([[-3e38, 3e38]], np.float32), "range")
    _depth_refused(depth[None], r"shape \(1, 20, 31\)")
    _depth_refused(depth.astype(np.complex64), "complex64", TypeError)
    _depth_refused(depth > 0, "bool", TypeError)
    _depth_refused("nowhere.tif", "nowhere.tif' does not exist", FileNotFoundError)
    _depth_refused(3, "int", TypeError)
    _depth_refused(depth, "max_pixels=619", max_pixels=619)


def test_coloured_views_of_depth_are_refused(tmp_path, depth):
    view = colourise_depth(read_depth(depth))
    Image.fromarray(view).save(tmp_path / "view.png")
    _depth_refused(tmp_path / "view.png", "mode RGB, not a depth map.*not its coloured view")
    opaque = np.dstack([view, np.full((20, 31), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    _depth_refused(tmp_path / "opaque.png", "opaque RGBA picture")
    _depth_refused(view, r"shape \(20, 31, 3\)")


def test_depth_is_scaled_bilinearly():
    # Oracle: half-pixel centres, written out.
    depth = np.random.default_rng(3).normal(size=(9, 13)).astype(np.float32)
    h, w = 22, 32
    rows = ((np.arange(h) + 0.5) * 9 / h - 0.5).clip(0, 8)
    columns = ((np.arange(w) + 0.5) * 13 / w - 0.5).clip(0, 12)
    i, j = np.floor(rows).astype(int).clip(0, 7), np.floor(columns).astype(int).clip(0, 11)
    u, v = (rows - i)[:, None], columns - j
    top = depth[i][:, j] * (1 - v) + depth[i][:, j + 1] * v
    bottom = depth[i + 1][:, j] * (1 - v) + depth[i + 1][:, j + 1] * v
    scaled = scale_map(depth, 2.5, interpolation="linear")
    assert scaled.shape == (h, w)
    assert np.abs(scaled - (top * (1 - u) + bottom * u)).max() < 1e-5


def test_size_cuts_map_and_picture_alike():
    ramp = np.linspace(0, 255, 60)[None].repeat(41, axis=0).astype(np.uint8)
    picture = np.dstack([ramp] * 3)
    cut = resize_and_crop(picture, 20, interpolation="linear")
    depth = read_depth(ramp, size=20)
    assert cut.shape == (20, 20, 3)
    assert depth.shape == (20, 20)
    assert depth.flags.c_contiguous
    assert np.abs((depth + 1) * 127.5 - cut[:, :, 0]).max() < 1.5
    labels = read_labels(ramp, 256, size=20)
    assert labels.shape == (20, 20)
    assert np.abs(labels - cut[:, :, 0].astype(int)).max() <= 8
    with pytest.raises(ValueError, match="size is 0"):
        read_depth(ramp, size=0)


def test_an_odd_rest_is_halved_downwards():
    tall = np.arange(7 * 4).reshape(7, 4)
    assert np.array_equal(resize_and_crop(tall, 4, interpolation="nearest"), tall[1:5])
    assert np.array_equal(resize_and_crop(tall.T, 4, interpolation="nearest"), tall.T[:, 1:5])


def test_depth_is_normalised_before_it_is_cut():
    depth = np.zeros((8, 16))
    depth[0, 0], depth[0, 15] = -10.0, 10.0
    assert np.abs(read_depth(depth, size=8)).max() == 0.0


# --- coordinates, batches, colours ---------------------------------------------------------------


def test_coordinates_are_the_raster_index(tmp_path):
    whole = coordinates(6, 8)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, (np.arange(48).reshape(6, 8) / 48).astype(np.float32))
    assert np.array_equal(coordinates(6, 8, size=4), whole[1:5, 2:6])
    assert coordinates(256, 256).max() < 1.0
    with pytest.raises(ValueError, match="size is 7"):
        coordinates(6, 8, size=7)
    with pytest.raises(ValueError, match="empty"):
        coordinates(0, 8)


def test_batches_are_contiguous():
    batch = to_batch(coordinates(4, 5))
    assert batch.shape == (1, 1, 4, 5)
    assert batch.flags.c_contiguous
    assert 0 not in batch.strides
    with pytest.raises(ValueError, match="shape"):
        to_batch(np.zeros((1, 4, 5)))


def test_depth_ramp_brightens_evenly(depth):
    luminance = depth_colours() @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) >= 0).all()
    assert luminance[0] < 20
    assert luminance[-1] > 230
    picture = colourise_depth(np.array([[-1.0, 0.0, 1.0, 5.0]]))
    assert np.array_equal(picture[0], depth_colours()[[0, 128, 255, 255]])
    with pytest.raises(ValueError, match="NaN"):
        colourise_depth(np.array([[np.nan]]))


# --- the original's own examples -----------------------------------------------------------------


def test_real_depth_is_read_as_the_original_reads_it(test_data):
    path = next((test_data / "drin").glob("*_depth.png"))
    rgba = np.array(Image.open(path))
    raw = rgba.copy()
    raw.dtype = np.float32
    expected = _original_depth(raw[:, :, 0])
    assert np.array_equal(read_depth(path), expected)
    scale = 256 / 411
    resized = cv2.resize(expected, (256, round(500 * scale)), interpolation=cv2.INTER_LINEAR)
    top = (resized.shape[0] - 256) // 2
    assert np.array_equal(read_depth(path, size=256), resized[top : top + 256])

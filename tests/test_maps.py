"""Label, depth and coordinate maps: ids stay ids, numbers stay numbers, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.maps import (
    colourise_depth,
    colourise_labels,
    coordinates,
    label_colours,
    one_hot,
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


# --- labels --------------------------------------------------------------------------------------


def test_grey_palette_16_bit_and_npy_maps_are_the_same_ids(tmp_path, ids):
    Image.fromarray(ids).save(tmp_path / "grey.png")
    palette = Image.fromarray(ids).convert("L")
    palette.putpalette(np.random.default_rng(2).integers(0, 256, 768).tolist())
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "transparent.png", transparency=3)
    palette.save(tmp_path / "palette.gif")
    cv2.imwrite(str(tmp_path / "deep.png"), ids.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "deep.tif"), ids.astype(np.uint16))
    np.save(tmp_path / "ids.npy", ids.astype(np.int64))
    names = ["grey.png", "palette.png", "transparent.png", "deep.png", "deep.tif", "ids.npy"]
    sources = [*(tmp_path / name for name in names), str(tmp_path / "grey.png")]
    sources += [Image.open(tmp_path / "palette.png"), ids, ids.astype(np.uint64), ids.tolist()]
    for source in sources[:-1]:
        labels = read_labels(source, 182)
        assert labels.dtype == np.int32
        assert np.array_equal(labels, ids)
    _labels_refused(sources[-1], "list", TypeError)


def test_more_than_256_labels(tmp_path):
    many = np.arange(600, dtype=np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "a.png"), many)
    assert np.array_equal(read_labels(tmp_path / "a.png", 600), many)
    _labels_refused(
        tmp_path / "a.png", r"599 \(1 pixels, first at row 19, column 29\)", n_labels=599
    )


def test_binary_maps_are_labels_0_and_1(tmp_path):
    mask = np.array([[True, False], [False, True]])
    Image.fromarray(mask).save(tmp_path / "a.png")
    for source in (mask, tmp_path / "a.png"):
        assert np.array_equal(read_labels(source, 2), mask.astype(int))


def test_shift_is_the_originals_uint8_addition():
    stored = np.array([[0, 1, 181, 255]], np.uint8)
    assert np.array_equal(read_labels(stored, 183, shift=True), stored + np.uint8(1))
    assert read_labels(stored.astype(np.int32), 183, shift=True).tolist() == [[1, 2, 182, 0]]
    _labels_refused(np.array([[182]]), r"182 .*0\.\.181 and 255", n_labels=183, shift=True)
    _labels_refused(np.array([[-1]]), r"-1 \(1 pixels", n_labels=183, shift=True)


def test_ignored_pixels_get_the_label_asked_for():
    stored = np.array([[0, 255], [255, 150]], np.uint8)
    assert read_labels(stored, 151, ignore=7).tolist() == [[0, 7], [7, 150]]
    message = _labels_refused(stored, "255 .2 pixels, first at row 0, column 1", n_labels=151)
    assert "ignore=" in message
    assert "shift=True" in message
    _labels_refused(stored, "ignore is 151", n_labels=151, ignore=151)
    _labels_refused(stored, "shift", n_labels=183, ignore=0, shift=True)
    assert read_labels(stored, 256).tolist() == stored.tolist()


def test_ids_out_of_range_are_named_with_their_places():
    labels = np.zeros((4, 5), np.int64)
    labels[1, 3] = labels[3, 0] = 200
    labels[2, 2] = -4
    labels[3, 1] = 300
    labels[3, 2] = 301
    message = _labels_refused(labels, "out of range")
    assert "-4 (1 pixels, first at row 2, column 2)" in message
    assert "200 (2 pixels, first at row 1, column 3)" in message
    assert "and 1 other values" in message
    assert "0..181" in message
    _labels_refused(np.array([[2**64 - 1]], np.uint64), str(2**64 - 1))


def test_a_photograph_is_no_label_map(tmp_path, ids):
    photo = np.dstack([ids] * 3)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    Image.fromarray(ids).save(tmp_path / "grey.jpg")
    for source in (tmp_path / "photo.png", tmp_path / "photo.jpg", Image.fromarray(photo)):
        _labels_refused(
            source, r"picture with colours \(RGB, 31x20\), not a label map.*one channel"
        )
    assert "photo.png" in _labels_refused(tmp_path / "photo.png", "label map")
    _labels_refused(tmp_path / "grey.jpg", "grey.jpg' is a JPEG.*PNG")
    _labels_refused(Image.open(tmp_path / "grey.jpg"), "JPEG")
    _labels_refused(photo, r"shape \(20, 31, 3\); expected \(H, W\)")


def test_other_bad_label_maps(tmp_path, ids):
    _labels_refused(ids.astype(np.float32), "float32.*whole", TypeError)
    _labels_refused(np.zeros((0, 3), np.uint8), "empty")
    _labels_refused(tmp_path / "none.png", "none.png' does not exist", FileNotFoundError)
    _labels_refused(tmp_path / "none.npy", "none.npy' does not exist", FileNotFoundError)
    _labels_refused(ids, "620 pixels.*max_pixels=619", max_pixels=619)
    _labels_refused(ids, "n_labels is 0", n_labels=0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    _labels_refused(tmp_path / "a.png", "a.png")


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


def test_one_hot_has_a_one_at_each_label(ids):
    x = one_hot(read_labels(ids, 182), 182)
    assert x.shape == (1, 182, 20, 31)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.array_equal(x, np.eye(182, dtype=np.float32)[ids].transpose(2, 0, 1)[None])


def test_one_hot_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"out of range: 5 \(1 pixels"):
        one_hot(np.array([[5]]), 5)
    with pytest.raises(ValueError, match="integer labels"):
        one_hot(np.zeros((2, 2)), 5)
    with pytest.raises(ValueError, match="GiB"):
        one_hot(np.broadcast_to(np.uint8(0), (5000, 5000)), 182)


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 1.3, 2.0, 4.0])
def test_label_maps_are_scaled_by_nearest_neighbour(ids, factor):
    scaled = read_labels(ids, 182, scale_factor=factor)
    h, w = int(20 * factor), int(31 * factor)
    expected = [[ids[i * 20 // h, j * 31 // w] for j in range(w)] for i in range(h)]
    assert np.array_equal(scaled, expected)


def test_nearest_neighbour_agrees_with_opencv(ids):
    for size in (7, 16, 53):
        resized = resize_and_crop(ids, size, interpolation="nearest")
        expected = cv2.resize(ids, (round(31 * size / 20), size), interpolation=cv2.INTER_NEAREST)
        left = (expected.shape[1] - size) // 2
        assert np.array_equal(resized, expected[:, left : left + size])


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 0.01])
def test_bad_scale_factors_are_refused(ids, factor):
    _labels_refused(ids, "scale", scale_factor=factor)


def test_scaling_respects_max_pixels(ids):
    _labels_refused(ids, "scaled by 10.*62000 pixels", scale_factor=10.0, max_pixels=61_999)
    with pytest.raises(ValueError, match="interpolation"):
        scale_map(ids, 2.0, interpolation="bicubic")


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


def test_label_colours_are_fixed_distinct_and_independent_of_the_count():
    colours = label_colours(1024)
    assert colours.shape == (1024, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == 1024
    assert np.array_equal(label_colours(151), colours[:151])
    assert colours[:3].tolist() == [[181, 159, 247], [77, 134, 160], [0, 100, 58]]
    step = np.linalg.norm(np.diff(colours[:183].astype(float), axis=0), axis=1)
    assert step.min() > 50
    for n in (0, 65_537):
        with pytest.raises(ValueError, match="65536"):
            label_colours(n)


def test_label_maps_are_coloured_by_id(ids):
    picture = colourise_labels(read_labels(ids, 182))
    assert picture.shape == (20, 31, 3)
    assert np.array_equal(picture[4, 7], label_colours(182)[ids[4, 7]])
    for bad in (np.array([[-1]]), np.zeros((2, 2)), np.zeros((1, 2, 2), int)):
        with pytest.raises(ValueError, match="label"):
            colourise_labels(bad)


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


@pytest.mark.parametrize(
    ("name", "n_labels", "shift"),
    [("sflckr", 182, False), ("coco", 183, True), ("ade20k", 151, False)],
)
def test_real_label_maps_are_read_as_the_original_reads_them(test_data, name, n_labels, shift):
    path = next((test_data / name).glob("*_segmentation.png"))
    stored = np.array(Image.open(path)).astype(np.uint8) + np.uint8(shift)
    labels = read_labels(path, n_labels, shift=shift)
    assert np.array_equal(labels, stored)
    small = read_labels(path, n_labels, shift=shift, size=64)
    scale = 64 / min(stored.shape)
    h, w = (round(side * scale) for side in stored.shape)
    reference = cv2.resize(stored, (w, h), interpolation=cv2.INTER_NEAREST)
    top, left = (h - 64) // 2, (w - 64) // 2
    assert np.mean(small != reference[top : top + 64, left : left + 64]) < 0.01
    with pytest.raises(ValueError, match="label map"):
        read_labels(next((test_data / name).glob("*.jpg")), n_labels)


def test_unlabelled_pixels_of_coco_are_named(test_data):
    path = next((test_data / "coco").glob("*_segmentation.png"))
    with pytest.raises(ValueError, match=r"255 \(.*shift=True"):
        read_labels(path, 182)


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

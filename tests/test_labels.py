"""Label maps: ids stay ids, whatever holds them, and mistakes are named with their place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.maps import (
    colourise_labels,
    label_colours,
    one_hot,
    read_labels,
    resize_and_crop,
    scale_map,
)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 150, (20, 31)).astype(np.uint8)


def _labels_refused(source: object, words: str, error: type[Exception] = ValueError, **options):
    with pytest.raises(error, match=words) as caught:
        read_labels(source, options.pop("n_labels", 182), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ids).save(tmp_path / "turned.jpg", exif=exif.tobytes())
    _labels_refused(tmp_path / "turned.jpg", "JPEG")
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

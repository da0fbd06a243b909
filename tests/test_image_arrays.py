"""Pictures as arrays: geometry and ranges; and pictures as files, written whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.image import (
    center_crop,
    read_image,
    reflect_pad_to_multiple,
    resize_short_side,
    to_uint8,
    to_unit_range,
    write_image,
    write_png,
)
from official.multimodal.taming_transformer.paths import replacing


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)


def _listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(31, 47), (47, 31), (40, 40), (16, 100), (33, 500)])
def test_short_side_gets_its_size(h, w):
    image = np.random.default_rng(3).integers(0, 256, (h, w, 3), dtype=np.uint8)
    resized = resize_short_side(image, 16)
    r = 16 / min(h, w)
    assert resized.shape == (round(r * h), round(r * w), 3)
    assert min(resized.shape[:2]) == 16


def test_resizing_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize_short_side(stripes, 32)[4:-4, 4:-4].astype(int)) <= 2
    assert resize_short_side(stripes, 256) is stripes


def test_resizing_keeps_a_gradient():
    x = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
    small = resize_short_side(np.dstack([x] * 3), 64)[10, 4:-4, 0]
    assert np.abs(small - (np.arange(4, 60) * 4 + 1.5)).max() <= 1


@pytest.mark.parametrize(("h", "w", "top", "left"), [(6, 9, 1, 2), (4, 4, 0, 0), (7, 5, 2, 0)])
def test_centre_crop_halves_odd_rests_as_the_notebook_does(h, w, top, left):
    image = np.arange(h * w * 3).reshape(h, w, 3)
    assert np.array_equal(center_crop(image, 4), image[top : top + 4, left : left + 4])


def test_centre_crop_refuses_smaller_pictures(picture):
    with pytest.raises(ValueError, match="21x21 out of 31x20"):
        center_crop(picture, 21)


@pytest.mark.parametrize("h", [1, 2, 3, 5, 16, 17, 31, 33])
@pytest.mark.parametrize("w", [1, 2, 7, 32, 45])
def test_padding_reflects_without_repeating_the_border(h, w):
    image = np.random.default_rng(h * 100 + w).integers(0, 256, (h, w, 3), dtype=np.uint8)
    padded = reflect_pad_to_multiple(image, 16)
    assert padded.shape[0] % 16 == padded.shape[1] % 16 == 0
    assert 0 <= padded.shape[0] - h < 16
    assert 0 <= padded.shape[1] - w < 16
    assert np.array_equal(padded[:h, :w], image)
    # Oracle: walk to and fro along each axis, one step at a time.
    for axis, length in ((0, h), (1, w)):
        at, step, walk = 0, 1, []
        for _ in range(padded.shape[axis]):
            walk.append(at)
            if length > 1:
                step = 1 if at == 0 else -1 if at == length - 1 else step
                at += step
        image = np.take(image, walk, axis=axis)
    assert np.array_equal(padded, image)


def test_padding_agrees_with_opencv_and_takes_maps():
    labels = np.random.default_rng(4).integers(0, 9, (20, 30))
    padded = reflect_pad_to_multiple(labels, 16)
    expected = cv2.copyMakeBorder(labels.astype(np.int32), 0, 12, 0, 2, cv2.BORDER_REFLECT_101)
    assert np.array_equal(padded, expected)
    assert padded.dtype == labels.dtype
    square = np.zeros((32, 16), np.uint8)
    assert reflect_pad_to_multiple(square, 16) is square


# --- ranges --------------------------------------------------------------------------------------


def test_unit_range_is_the_originals_number_for_number(picture):
    x = to_unit_range(picture)
    expected = (picture / 127.5 - 1.0).astype(np.float32).transpose(2, 0, 1)[None]
    assert x.shape == (1, 3, 20, 31)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.array_equal(x, expected)
    assert to_unit_range(picture[:, :, 0]).shape == (1, 1, 20, 31)
    assert 0 not in to_unit_range(picture[:, :, 0]).strides


def test_every_value_survives_both_conversions():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(to_uint8(to_unit_range(values)), values)
    assert np.array_equal(to_uint8(to_unit_range(values)[0]), values)


def test_to_uint8_rounds_to_nearest_and_clips():
    x = np.array([-9.0, -1.0, -0.9961, 0.0, 0.999, 1.0, np.inf]).reshape(1, 1, 1, 7)
    assert to_uint8(x)[0, :, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_wrong_ranges_are_refused(picture):
    with pytest.raises(TypeError, match="float64"):
        to_unit_range(picture / 255)
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(np.full((1, 3, 2, 2), np.nan))
    with pytest.raises(ValueError, match=r"\(2, 3, 2, 2\)"):
        to_uint8(np.zeros((2, 3, 2, 2)))


# --- writing -------------------------------------------------------------------------------------


def test_png_keeps_pixels_and_metadata(tmp_path, picture):
    metadata = {"seed": "2022", "model": "naïve 模型", "note": "x" * 5000}
    write_png(tmp_path / "a.png", picture, metadata)
    with Image.open(tmp_path / "a.png") as image:
        assert dict(image.text) == metadata
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
    assert _listing(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.webp"])
def test_extension_chooses_the_format(tmp_path, name):
    image = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    write_image(tmp_path / name, image)
    with Image.open(tmp_path / name) as written:
        assert written.format == {".png": "PNG", ".webp": "WEBP"}.get(Path(name).suffix, "JPEG")
    assert np.abs(read_image(tmp_path / name).astype(int) - image).max() <= 4


def test_writing_replaces_and_respects_the_umask(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    write_image(tmp_path / "a.png", picture[:5])
    assert read_image(tmp_path / "a.png").shape == (5, 31, 3)
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    before = (tmp_path / "a.png").read_bytes()

    def interrupted() -> None:
        with replacing(tmp_path / "a.png") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="key"):
        write_png(tmp_path / "a.png", picture, {"": "x"})
    assert _listing(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="limits file sizes as POSIX does")
def test_full_disk_leaves_nothing_and_keeps_the_old_file(tmp_path):
    import resource

    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        write_image(tmp_path / name, noise[:2, :2])
        before = (tmp_path / name).read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))  # as if the disk were full then
        try:
            with pytest.raises(OSError, match="File too large"):
                write_image(tmp_path / name, noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / name).read_bytes() == before
    assert _listing(tmp_path) == ["a.jpg", "a.png", "a.webp"]


def test_bad_outputs_are_refused(tmp_path, picture):
    with pytest.raises(ValueError, match=r"\.xyz.*\.png, \.jpg"):
        write_image(tmp_path / "a.xyz", picture)
    with pytest.raises(FileNotFoundError, match=r"nowhere.*create it"):
        write_image(tmp_path / "nowhere" / "a.png", picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        write_png(tmp_path / "folder.png", picture)
    with pytest.raises(TypeError, match="float"):
        write_png(tmp_path / "a.png", picture / 255)
    with pytest.raises(ValueError, match="shape"):
        write_png(tmp_path / "a.png", picture.transpose(2, 0, 1))
    with pytest.raises(ValueError, match="quality"):
        write_image(tmp_path / "a.jpg", picture, quality=101)
    assert _listing(tmp_path) == ["folder.png"]

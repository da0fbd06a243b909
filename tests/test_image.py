"""Pictures: reading anything safely, geometry, ranges, and writing whole files."""

from __future__ import annotations

import ast
import struct
import zlib
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
from official.multimodal.taming_transformer.image_files import replacing

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)


def _listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- reading -------------------------------------------------------------------------------------


def test_path_pillow_image_and_array_give_the_same_picture(tmp_path, picture):
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    for source in (path, str(path), Image.open(path), picture):
        read = read_image(source)
        assert np.array_equal(read, picture)
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        assert read.flags.owndata


def test_reading_an_array_copies_it(picture):
    read = read_image(picture)
    read[:] = 0
    assert picture.any()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, kind):
    # Oracle: the definition in the EXIF standard (row 0 and column 0 of the stored picture).
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = (255, 0, 0)
    upright[8:, 16:] = (0, 0, 255)
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    options = {"lossless": True} if kind == "webp" else {}
    options = {"quality": 95, "subsampling": 0} if kind == "jpg" else options
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif.tobytes(), **options)
    read = read_image(path)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() <= 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_block_does_not_hide_the_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8), (9, 9, 9)).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_image(path).shape == (8, 8, 3)


def test_grey_is_repeated(tmp_path, picture):
    grey = picture[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    expected = np.stack([grey] * 3, axis=-1)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    assert np.array_equal(read_image(grey), expected)
    assert np.array_equal(read_image(grey[:, :, None]), expected)


def test_alpha_is_composited_on_white(tmp_path, picture):
    alpha = np.arange(20 * 31, dtype=np.int64).reshape(20, 31) % 256
    rgba = np.dstack([picture, alpha.astype(np.uint8)])
    exact = (picture * alpha[..., None] + 255 * (255 - alpha[..., None])) / 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", rgba):
        assert np.abs(read_image(source) - exact).max() <= 0.5
    la = np.dstack([picture[:, :, 0], rgba[:, :, 3]])
    Image.fromarray(la).save(tmp_path / "la.png")
    assert np.array_equal(read_image(tmp_path / "la.png"), read_image(la))
    assert np.abs(read_image(la)[:, :, 0] - exact[:, :, 0]).max() <= 0.5


def test_palette_and_its_transparent_colour(tmp_path):
    ids = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png")
    expected = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)[ids]
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)
    image.save(tmp_path / "b.png", transparency=2)
    expected[1, 0] = 255
    assert np.array_equal(read_image(tmp_path / "b.png"), expected)


def test_grey_png_with_a_transparent_value(tmp_path):
    Image.fromarray(np.array([[5, 6]], np.uint8)).save(tmp_path / "a.png", transparency=5)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [255, 6]


def test_one_bit_pictures_are_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 1].tolist() == [255, 0]
    assert read_image(np.array([[True, False]]))[0, :, 1].tolist() == [255, 0]


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_grey_keeps_its_tones(tmp_path, kind):
    values = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    path = tmp_path / f"a.{kind}"
    cv2.imwrite(str(path), values)
    expected = np.rint(values / 257.0).astype(np.uint8)
    assert np.array_equal(read_image(path)[:, :, 2], expected)
    assert np.array_equal(read_image(values)[:, :, 0], expected)


def test_16_bit_colour_is_read(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (6, 7, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values[:, :, ::-1])
    assert np.abs(read_image(tmp_path / "a.png") - values / 257.0).max() <= 1.0
    assert np.abs(read_image(values) - values / 257.0).max() <= 0.5


def test_cmyk_jpeg_is_read_as_its_colours(tmp_path):
    Image.new("RGB", (16, 16), (200, 40, 10)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 40, 10)).max() <= 4


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_reading_leaves_a_pillow_image_as_it_is(picture):
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6
    assert read_image(image).shape == (31, 20, 3)
    assert image.size == (31, 20)


# --- refusals ------------------------------------------------------------------------------------


def _bomb(path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _refused(source: object, words: str, error: type[Exception] = ValueError, **options) -> None:
    with pytest.raises(error, match=words) as caught:
        read_image(source, **options)
    assert "\n" not in str(caught.value)
    if isinstance(source, Path):
        assert source.name in str(caught.value)


@pytest.mark.parametrize("side", [9500, 20_000, 2**31 - 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bomb_is_refused_from_its_header(tmp_path, side):
    _bomb(tmp_path / "a.png", side)
    _refused(tmp_path / "a.png", "pixels")


def test_max_pixels_is_the_limit(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=620).shape == (20, 31, 3)
    for source in (tmp_path / "a.png", picture, Image.fromarray(picture)):
        _refused(source, "31x20 = 620 pixels.*max_pixels=619", max_pixels=619)
    _refused(str(tmp_path / "a.png"), "max_pixels is 0", max_pixels=0)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path, picture, kind, share):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(picture.repeat(8, axis=0).repeat(8, axis=1)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    _refused(path, "truncated or broken|no picture")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_flipped_bits_never_raise_anything_else(tmp_path, picture):
    generator = np.random.default_rng(2)
    for kind in ("png", "jpg", "webp", "tif", "gif", "bmp"):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(picture).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[generator.integers(0, len(whole), 3)] ^= generator.integers(1, 256, 3, np.uint8)
            path.write_bytes(broken.tobytes())
            try:
                read_image(path, max_pixels=10_000)
            except ValueError as error:
                assert "a." + kind in str(error)  # noqa: PT017 (either outcome is right)


def test_what_is_no_picture_is_refused(tmp_path):
    _refused(tmp_path / "missing.png", "does not exist", FileNotFoundError)
    _refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").write_bytes(b"")
    _refused(tmp_path / "empty.png", "no picture")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    _refused(tmp_path / "text.jpg", "no picture.*PNG")
    _refused(7, "int", TypeError)
    _refused(None, "NoneType", TypeError)


def test_postscript_is_never_interpreted(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    _refused(tmp_path / "a.png", "no picture")


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError, "float32.*uint8"),
        (np.zeros((4, 4, 3), np.int64), TypeError, "int64"),
        (np.zeros((3, 40, 40), np.uint8), ValueError, "channels go last"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, "one picture at a time"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "empty"),
        (np.zeros(4, np.uint8), ValueError, "shape"),
    ],
)
def test_other_arrays_are_refused(array, error, words):
    _refused(array, words, error)


def test_float_and_32_bit_pictures_are_refused():
    _refused(Image.fromarray(np.ones((2, 2), np.float32)), "floating-point")
    _refused(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "0..65535")


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


def _modules_behind(name: str) -> set[str]:
    """Follow the package's own imports, by reading the files: {"image", "numpy", ...}."""
    package = ROOT / "official" / "multimodal" / "taming_transformer"
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = package / f"{module}.py"
        if not path.is_file():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                waiting.append((node.module or "").split(".")[0])
            elif isinstance(node, ast.Import):
                waiting += [alias.name.split(".")[0] for alias in node.names]
    return seen


@pytest.mark.parametrize("name", ["image", "maps", "video"])
def test_pictures_maps_and_videos_need_no_engine(name):
    behind = _modules_behind(name)
    assert "numpy" in behind
    assert "megengine" not in behind


def test_real_photographs_are_read(test_data):
    for path in sorted(test_data.rglob("*.jpg")):
        image = read_image(path)
        with Image.open(path) as reference:
            assert np.array_equal(image, np.asarray(reference.convert("RGB")))

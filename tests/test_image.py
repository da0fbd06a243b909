"""Pictures: anything is read safely, and what cannot be read is refused in one clear line."""

from __future__ import annotations

import ast
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.image import read_image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)


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

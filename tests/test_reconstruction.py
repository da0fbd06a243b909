"""Reconstruction: geometry, ranges, files and folders, with a model that can be seen through."""

from __future__ import annotations

import numpy as np
import pytest
from megengine import Tensor
from PIL import Image

from official.multimodal.taming_transformer.image import read_image, write_image
from official.multimodal.taming_transformer.reconstruction import Reconstruction

from .tiny import tiny_vqgan


class BlockModel:
    """Keeps the top left pixel of every 8 x 8 block; codes are its grey level."""

    downsampling = 8
    resolution = 32
    in_channels = 3
    device = "cpu0"
    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        self.training = True
        self.seen: list[np.ndarray] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        array = x.numpy()
        assert array.shape[2] % 8 == array.shape[3] % 8 == 0
        self.seen.append(array)
        corner = np.ascontiguousarray(array[:, :, ::8, ::8])
        grey = np.rint((corner[:, 0] + 1) * 127.5).astype(np.int32)
        return Tensor(corner), Tensor(grey)

    def decode(self, z_q: Tensor) -> Tensor:
        return Tensor(np.ascontiguousarray(z_q.numpy().repeat(8, axis=2).repeat(8, axis=3)))

    def decode_code(self, indices: Tensor) -> Tensor:
        assert indices.numpy().dtype == np.int32
        grey = indices.numpy().astype(np.float32)[:, None] / 127.5 - 1
        return self.decode(Tensor(np.ascontiguousarray(grey.repeat(3, axis=1))))

    def eval(self) -> None:
        self.training = False


@pytest.fixture
def photo() -> np.ndarray:
    rows, columns = np.mgrid[0:50, 0:77]
    return np.stack([rows * 4, columns * 3, 255 - rows - columns], axis=-1).astype(np.uint8)


def _names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_default_resizes_and_cuts_as_the_notebook_does(photo):
    model = BlockModel()
    picture = Reconstruction(model)(photo)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    assert model.training is False
    resized = np.asarray(Image.fromarray(photo).resize((49, 32), Image.Resampling.LANCZOS))
    cut = resized[:, 8:40]
    expected = (cut / 127.5 - 1.0).astype(np.float32).transpose(2, 0, 1)[None]
    assert np.array_equal(model.seen[0], expected)
    assert np.array_equal(picture, cut[::8, ::8].repeat(8, axis=0).repeat(8, axis=1))


@pytest.mark.parametrize(("h", "w"), [(50, 77), (48, 40), (1, 1), (3, 77), (7, 9), (50, 2)])
def test_size_none_keeps_the_whole_picture(photo, h, w):
    model = BlockModel()
    cut = photo[:h, :w]
    picture = Reconstruction(model, size=None)(cut)
    assert picture.shape == (h, w, 3)
    expected = cut[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)[:h, :w]
    assert np.array_equal(picture, expected)
    assert picture.flags.c_contiguous
    assert np.abs(model.seen[0]).max() <= 1


def test_size_can_be_chosen(photo):
    assert Reconstruction(BlockModel(), size=48)(photo).shape == (48, 48, 3)
    for size in (20, 0, -8, 8.0, "large"):
        with pytest.raises(ValueError, match="multiple of 8"):
            Reconstruction(BlockModel(), size=size)


def test_path_pillow_image_and_array_are_the_same(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    rec = Reconstruction(BlockModel())
    expected = rec(photo)
    sources = (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(photo))
    for source in sources:
        assert np.array_equal(rec(source), expected)


def test_result_is_written_where_asked(tmp_path, photo):
    rec = Reconstruction(BlockModel())
    picture = rec(photo, tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)
    rec(photo, file_name=str(tmp_path / "b.jpg"))
    assert _names(tmp_path) == ["a.png", "b.jpg"]


def test_bad_inputs_are_refused_before_the_model_runs(tmp_path, photo):
    model = BlockModel()
    rec = Reconstruction(model)
    write_image(tmp_path / "small.png", photo[:31])
    with pytest.raises(ValueError, match=r"small\.png' is 77x31.*at least 32.*size=None"):
        rec(tmp_path / "small.png", tmp_path / "out.png")
    with pytest.raises(ValueError, match="the picture is 77x31"):
        rec(photo[:31])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        rec(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"\.tga"):
        rec(photo, tmp_path / "out.tga")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rec(photo, tmp_path / "nowhere" / "out.png")
    with pytest.raises(TypeError, match="float64"):
        rec(photo / 255)
    assert model.seen == []
    assert _names(tmp_path) == ["small.png"]


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="first_stage_model"):
        Reconstruction(object())
    depth = BlockModel()
    depth.in_channels = 1
    with pytest.raises(ValueError, match=r"1 channels.*RGB"):
        Reconstruction(depth)


def test_codes_may_be_changed(photo):
    rec = Reconstruction(tiny_vqgan())
    codes = rec.encode(photo)
    codes[:, 0] = codes[:, -1]
    assert rec.decode(codes).shape == (32, 32, 3)


def test_codes_go_out_and_come_back(photo):
    rec = Reconstruction(BlockModel(), size=None)
    codes = rec.encode(photo)
    assert codes.dtype == np.int32
    assert codes.shape == (7, 10)
    assert np.array_equal(codes[:, 0], photo[::8, 0, 0])
    picture = rec.decode(codes.astype(np.int64))
    assert picture.shape == (56, 80, 3)
    assert np.array_equal(picture[::8, ::8, 1], codes)
    for bad in (codes[None], codes.astype(float), codes[:0]):
        with pytest.raises(ValueError, match="integer indices"):
            rec.decode(bad)


def test_folder_in_gives_folder_out(tmp_path, photo):
    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png"):
        Image.fromarray(photo).save(source / name)
    (source / "notes.txt").write_text("no picture")
    rec = Reconstruction(BlockModel())
    written = rec(source, tmp_path / "out" / "first")
    assert [path.name for path in written] == ["a.png", "b.png", "c.png"]
    assert _names(tmp_path / "out" / "first") == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read_image(written[1]), rec(source / "b.png"))


def test_pictures_that_differ_by_extension_keep_it(tmp_path, photo):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg", "b.png"):
        write_image(tmp_path / "in" / name, photo)
    written = Reconstruction(BlockModel())(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in written] == ["a.jpg.png", "a.png.png", "b.png.png"]


def test_bad_pictures_of_a_folder_are_named_and_the_others_kept(tmp_path, photo):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "c.png", "e.png"):
        write_image(tmp_path / "in" / name, photo)
    (tmp_path / "in" / "b.png").write_bytes(b"not a picture")
    write_image(tmp_path / "in" / "d.png", photo[:9])
    with pytest.raises(ValueError, match=r"2 of 5 pictures.*the other 3 are in") as caught:
        Reconstruction(BlockModel())(tmp_path / "in", tmp_path / "out")
    assert "b.png' is no picture" in str(caught.value)
    assert "d.png' is 77x9" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _names(tmp_path / "out") == ["a.png", "c.png", "e.png"]


def test_bad_folders_are_refused(tmp_path, photo):
    rec = Reconstruction(BlockModel())
    with pytest.raises(ValueError, match="holds no pictures"):
        rec(tmp_path, tmp_path / "out")
    write_image(tmp_path / "a.png", photo)
    with pytest.raises(ValueError, match="file_name="):
        rec(tmp_path)
    with pytest.raises(ValueError, match="holds the pictures"):
        rec(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        rec(tmp_path, tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rec.folder(tmp_path / "nowhere", tmp_path / "out")
    assert _names(tmp_path) == ["a.png"]


def test_a_real_network_reconstructs_the_same_as_by_hand(photo):
    model = tiny_vqgan()
    rec = Reconstruction(model, size=None)
    picture = rec(photo)
    assert picture.shape == photo.shape
    codes = rec.encode(photo)
    assert codes.shape == (25, 39)
    assert np.array_equal(rec.decode(codes)[:50, :77], picture)
    padded = np.concatenate([photo, photo[:, -2:-1]], axis=1)
    x = np.ascontiguousarray((padded / 127.5 - 1).astype(np.float32).transpose(2, 0, 1))[
        None
    ].copy()
    by_hand = model(Tensor(x)).numpy()[0].transpose(1, 2, 0)[:, :77]
    expected = np.rint((by_hand.clip(-1, 1) + 1) * 127.5)
    assert np.abs(picture - expected).max() <= 1
    assert Reconstruction(model)(photo).shape == (32, 32, 3)

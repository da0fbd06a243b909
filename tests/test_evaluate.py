"""Evaluation: figures against their formulas, layouts of FID tools, reports, the command line."""

from __future__ import annotations

import csv
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from megengine import Tensor
from PIL import Image

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.errors import WeightsUnavailableError
from official.multimodal.taming_transformer.image import to_unit_range
from tests.tiny import tiny_vqgan
from tools import evaluate
from tools.evaluation import document
from tools.evaluation.codes import CodeUse, codebook_picture, decode_codes
from tools.evaluation.measure import Reconstructor, compare, measure
from tools.evaluation.pictures import as_in_the_paper, list_pictures


@pytest.fixture(scope="module")
def model():
    return tiny_vqgan()


def photo(seed: int, height: int = 40, width: int = 52) -> np.ndarray:
    rng = np.random.RandomState(seed)
    return np.kron(rng.randint(0, 256, (height // 4, width // 4, 3)), np.ones((4, 4, 1))).astype(
        np.uint8
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for number in range(9):
        Image.fromarray(photo(number)).save(made / f"p{number}.png")
    return made


def run(capsys, *arguments, model=None):
    status = evaluate.main([str(word) for word in arguments], lambda name, weights: model)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_largest_centred_square_is_cut_and_resized_with_antialiasing():
    stripes = np.zeros((64, 100, 3), np.uint8)
    stripes[:, 18:82] = np.arange(64)[:, None] % 2 * 255  # one-pixel rows within the square
    small = as_in_the_paper(stripes, 16)
    assert small.shape == (16, 16, 3)
    inner = small[2:-2, 2:-2].astype(int)
    assert abs(inner.mean() - 127.5) < 2
    assert inner.max() - inner.min() < 40  # a resize that only picks pixels would give 0 or 255
    whole = photo(1, 40, 40)
    assert np.array_equal(as_in_the_paper(whole, 40), whole)
    assert as_in_the_paper(photo(2), 80).shape == (80, 80, 3)


def test_pictures_are_listed_in_order_and_hidden_ones_left_out(folder):
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("")
    (folder / "deeper").mkdir()
    Image.fromarray(photo(0)).save(folder / "deeper" / "q.png")
    assert [path.name for path in list_pictures(folder)] == [f"p{n}.png" for n in range(9)]
    assert len(list_pictures(folder, deep=True)) == 10
    with pytest.raises(ValueError, match="no pictures"):
        list_pictures(_empty(folder))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_pictures(folder / "none")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_figures_are_those_of_the_formulas():
    before = photo(3)
    after = np.clip(before.astype(int) + np.random.RandomState(0).randint(-20, 21, before.shape),
                    0, 255).astype(np.uint8)  # fmt: skip
    psnr, ssim, l1 = compare(before, after)
    difference = before.astype(float) - after
    assert psnr == pytest.approx(10 * math.log10(255**2 / (difference**2).mean()), abs=1e-9)
    assert l1 == pytest.approx(np.abs(difference).mean() / 255, abs=1e-12)
    assert ssim == pytest.approx(_ssim(before, after), abs=1e-6)
    assert compare(before, before) == (math.inf, 1.0, 0.0)


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, by sums over every window: an 11x11 Gaussian of sigma 1.5."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(axis, axis) / axis.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, (11, 11))
        return (windows * window).sum((-1, -2))

    found = []
    for channel in range(3):
        a, b = x[..., channel].astype(float), y[..., channel].astype(float)
        ma, mb = mean(a), mean(b)
        va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        top = (2 * ma * mb + c1) * (2 * vab + c2)
        found.append((top / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())
    return float(np.mean(found))


def test_use_of_the_codes_is_counted():
    even = CodeUse(np.array([5, 5, 5, 5, 0, 0, 0, 0]))
    assert (even.used, even.usage, even.bits) == (4, 0.5, pytest.approx(2))
    assert even.perplexity == pytest.approx(4)
    assert CodeUse(np.array([0, 7, 0])).perplexity == pytest.approx(1)
    mixed = CodeUse(np.array([2, 1, 1]))
    assert mixed.perplexity == pytest.approx(2**1.5)


def test_the_whole_set_is_measured_and_broken_files_are_named(folder, model):
    (folder / "p5.png").write_bytes(b"no picture")
    Image.fromarray(photo(20, 16, 20)).save(folder / "small.png")
    ticks = []
    found = measure("m", Reconstructor(model), list_pictures(folder), lambda: ticks.append(1))
    assert len(ticks) == 10
    assert [one.path.name for one in found.pictures][-2:] == ["p8.png", "small.png"]
    assert [one.enlarged for one in found.pictures] == [False] * 8 + [True]
    assert len(found.skipped) == 1
    assert "p5.png" in found.skipped[0]
    assert found.use.counts.sum() == 9 * 16 * 16  # f = 2 at 32x32
    square = as_in_the_paper(photo(0), 32)
    z_q, indices = model.encode(Tensor(to_unit_range(square)))
    expected = np.clip((model.decode(z_q).numpy()[0].transpose(1, 2, 0) + 1) * 127.5, 0, 255)
    after, codes = Reconstructor(model)(square)
    assert np.abs(after - expected).max() <= 0.5 + 1e-3
    assert np.array_equal(codes, indices.numpy()[0])
    ranked = [one.psnr for one in found.ranked()]
    assert ranked == sorted(ranked, reverse=True)
    assert found.mean("l1") == pytest.approx(np.mean([one.l1 for one in found.pictures]))


def test_a_folder_without_a_picture_that_can_be_read_is_an_error(tmp_path, model):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of 1 files is a picture.*a\.png"):
        measure("m", Reconstructor(model), list_pictures(tmp_path))


@pytest.mark.parametrize("size", [10, 33, 0])
def test_sizes_that_do_not_fit_are_refused(model, size):
    with pytest.raises(ValueError, match=f"size is {size}; expected a multiple of 2"):
        Reconstructor(model, size)


def test_every_code_is_in_the_picture_of_the_codebook(model):
    counts = np.zeros(40, np.int64)
    counts[[7, 3]] = 9, 5
    picture = codebook_picture(model, CodeUse(counts), columns=16)
    assert picture.shape == (3 * 2, 16 * 2, 3)
    alone = decode_codes(model, np.array([7, 3]))
    square = np.full((1, 3, 3), 7, np.int32)
    decoded = model.decode_code(Tensor(square)).numpy()[0].transpose(1, 2, 0)
    middle = np.clip((decoded[2:4, 2:4] + 1) * 127.5, 0, 255)
    assert np.abs(alone[0] - middle).max() <= 0.5 + 1e-3
    assert np.array_equal(picture[:2, :2], alone[0])  # the most used comes first
    assert np.array_equal(picture[:2, 2:4], alone[1])
    unused = np.setdiff1d(np.arange(40), [7, 3])[:14]
    pale = 255 - (255 - decode_codes(model, unused)) // 4
    assert np.array_equal(picture[:2, 4:], pale.swapaxes(0, 1).reshape(2, 28, 3))
    assert (picture[:2, 4:] >= 255 - 255 // 4).all()
    assert (picture[4:, 16:] == 255).all()  # 40 codes leave 8 places


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        assert tag not in ("script", "link", "iframe")
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def test_the_report_of_two_models_has_everything(capsys, folder, tmp_path, model, monkeypatch):
    Image.fromarray(photo(30)).save(folder / "a|b <i>$x$.png")
    root = tmp_path / "out"
    names = ["vqgan_imagenet_f16_1024", "vqgan_gumbel_f8"]
    status, out, err = run(
        capsys, "report", folder, "--size", 32, "--root", root, "--model", *names, model=model
    )
    assert (status, err) == (0, "")
    assert out == f"{root / 'report.html'}\n"
    figures = json.loads((root / "figures.json").read_text())
    assert list(figures) == names
    for name in names:
        rows = list(csv.DictReader((root / f"{name}_pictures.csv").open()))
        assert len(rows) == 10
        mean = np.mean([float(row["psnr_db"]) for row in rows])
        assert figures[name]["psnr"] == pytest.approx(mean, abs=1e-3)
        assert sum(figures[name]["counts"]) == 10 * 256
    text = (root / "report.md").read_text()
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(shown) == 1 + 2 * 4
    for name in shown:
        with Image.open(root / name) as picture:
            assert picture.size[0] >= 64
            assert len(set(picture.convert("L").tobytes())) > 8
    for name in names:
        assert zoo.model_row(name).fid in text  # with its reference set
        assert f"{figures[name]['psnr']:.2f}" in text
    page = Links()
    page.feed((root / "report.html").read_text())
    assert len(page.sources) == len(shown)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)


def test_what_stands_in_names_stays_text():
    parts = [document.Heading("a <b> | *c*", 1), document.Table(("x",), [("<script>|`",)])]
    assert "<script>" not in document.html(parts)
    assert "&lt;script&gt;" in document.html(parts)
    assert document.markdown(parts).splitlines()[-1] == r"| \<script\>\|\` |"


def test_the_same_picture_back_is_no_number_in_json(tmp_path):
    from tools.evaluation.measure import Measured, PictureFigures
    from tools.evaluation.report import figures_json

    one = PictureFigures(Path("a.png"), math.inf, 1.0, 0.0, False)
    found = Measured("m", 32, (one,), CodeUse(np.array([1, 2])), ())
    assert json.loads(figures_json([found]))["m"]["psnr"] is None


def test_exported_pictures_are_what_the_tools_take(capsys, folder, tmp_path, model):
    root = tmp_path / "exported"
    name = "vqgan_imagenet_f16_1024"
    asked = ["export", folder, "--model", name, "--size", 32, "--root", root, "--limit", 4]
    status, out, err = run(capsys, *asked, model=model)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 4
    for kind in ("pictures", "reconstructions"):
        files = sorted((root / kind).iterdir())
        assert [path.name for path in files] == [f"{n:06}.png" for n in range(4)]
        with np.load(root / f"{kind}.npz") as packed:
            assert packed.files == ["arr_0"]
            assert packed["arr_0"].dtype == np.uint8
            assert packed["arr_0"].shape == (4, 32, 32, 3)
            for path, picture in zip(files, packed["arr_0"]):
                assert np.array_equal(np.asarray(Image.open(path)), picture)
    expected = as_in_the_paper(photo(2), 32)
    assert np.array_equal(np.asarray(Image.open(root / "pictures" / "000002.png")), expected)
    after = Reconstructor(model)(expected)[0]
    written = np.asarray(Image.open(root / "reconstructions" / "000002.png"))
    assert np.array_equal(written, after)
    status, _, err = run(capsys, *asked, model=model)
    assert status == 1
    assert "is there already" in err


def test_class_folders_become_labels(capsys, tmp_path):
    for label, count in ((12, 2), (3, 1)):
        (tmp_path / "run" / str(label)).mkdir(parents=True)
        for number in range(count):
            picture = photo(label + number, 32, 32)
            Image.fromarray(picture).save(tmp_path / "run" / str(label) / f"{number:06}.png")
    root = tmp_path / "out"
    status, _, _ = run(capsys, "export", tmp_path / "run", "--deep", "--size", 32, "--root", root)
    assert status == 0
    with np.load(root / "pictures.npz") as packed:
        assert packed["arr_1"].tolist() == [12, 12, 3]
        assert np.array_equal(packed["arr_0"][2], photo(3, 32, 32))


def test_published_figures_name_their_reference_sets(capsys):
    status, out, _ = run(capsys, "published")
    assert status == 0
    rows = [row for row in zoo.list_models() if row.fid]
    assert len(out.splitlines()) == len(rows) >= 10
    assert all(f"{row.name} " in out and row.fid in out for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "none", "--model", "vqgan_gumbel_f8"], "does not exist"),
        (["report", "photos", "--model", "vqgan_gumbel_f8", "--size", "30"], "multiple of 8"),
        (["report", "photos", "--model", "vqgan_imagenet_depth"], "1 channels"),
        (["report", "photos", "--model", "vqgan_gumbel_f8", "--limit", "0"], "--limit is 0"),
        (["report", "photos", "--model", "vqgan_gumbel_f8", "--weights", "a=b"], "names a"),
        (["export", "photos"], "--size is missing"),
        (["export", "photos", "--size", "-4"], "--size is missing"),
    ],
)
def test_wrong_calls_are_one_line_before_any_weights(capsys, folder, monkeypatch, arguments, said):
    monkeypatch.chdir(folder.parent)
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert said in err
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert not (folder.parent / "outputs").exists()


def test_missing_weights_have_their_own_status(capsys, folder):
    def build(name, weights):
        raise WeightsUnavailableError("no weights")

    arguments = ["export", str(folder), "--model", "vqgan_gumbel_f8", "--root", str(folder / "o")]
    assert evaluate.main(arguments, build) == 4
    assert capsys.readouterr().err == "error: no weights\n"

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer.completion import Completion
from official.multimodal.taming_transformer.conditional import ConditionalSampler
from official.multimodal.taming_transformer.drawing import Drawing
from official.multimodal.taming_transformer.sampling import SamplingParams
from official.multimodal.taming_transformer.window import fixed_condition
from tests.test_window import plain_sample
from tests.tiny import tokens
from tests.tiny_models import depth_map, label_map, tiny_model


def picture(height=10, width=12):
    coarse = np.random.RandomState(3).randint(0, 256, (-(-height // 4), -(-width // 4), 3))
    return np.kron(coarse, np.ones((4, 4, 1), int))[:height, :width].astype(np.uint8)


def completion(kind="unconditional", **settings):
    return Completion(tiny_model(kind), **{"top_k": 20, "seed": 7, **settings})


def codes(kind, x):
    stage = tiny_model(kind).first_stage_model
    tensor = np.array((x / 127.5 - 1).transpose(2, 0, 1)[None], np.float32, order="C")
    from megengine import Tensor

    return stage.encode(Tensor(tensor))[1].numpy()[0]


CONDITIONS = {
    "segmentation": label_map,
    "depth": depth_map,
    "coordinates": lambda: None,
    "class": lambda: 3,
    "unconditional": lambda: None,
    "scene_layout": lambda: np.array([1, 2, 3, 4, 5]),
}


@pytest.mark.parametrize("kind", CONDITIONS)
def test_the_upper_half_stays_for_models_of_every_kind(kind):
    x = picture()
    found = completion(kind)(x, c=CONDITIONS[kind](), n_samples=2)
    half = 5 * 6 // 2
    kept = codes(kind, x).reshape(-1)[:half]
    for indices in found.indices:
        np.testing.assert_array_equal(indices.reshape(-1)[:half], kept)
    assert found.pictures.shape == (2, 10, 12, 3)
    drawn = found.indices.reshape(2, -1)[:, half:]
    assert not np.array_equal(drawn[0], drawn[1])


def test_a_half_that_begins_within_a_row_leaves_no_column_empty():
    x = picture(10, 6)  # 5x3 cells: the half begins in the middle of the third row
    found = completion()(x).indices[0].reshape(-1)
    np.testing.assert_array_equal(found[:7], codes("unconditional", x).reshape(-1)[:7])
    model = tiny_model("unconditional")
    mask = (np.arange(15) >= 7).reshape(5, 3)
    fill = np.where(mask, 0, codes("unconditional", x))[None]
    expected = plain_sample(
        model.transformer, fixed_condition(np.array([[0]])), fill,
        params=SamplingParams(top_k=20), seed=7, samples=[0], side=4, centre=2, mask=mask,
    )  # fmt: skip
    np.testing.assert_array_equal(found, expected[0].reshape(-1))


def test_a_cell_is_drawn_if_one_pixel_of_it_is_marked():
    x, mask = picture(), np.zeros((10, 12), bool)
    mask[5, 9] = mask[8, 0] = True
    steps = list(completion().steps(x, mask))
    assert [(step.row, step.column) for step in steps] == [(2, 4), (4, 0)]
    assert {step.total for step in steps} == {2}
    kept = np.ones((5, 6), bool)
    kept[2, 4] = kept[4, 0] = False
    known = codes("unconditional", x)
    np.testing.assert_array_equal(steps[-1].indices[0][kept], known[kept])


def test_what_stands_in_a_drawn_cell_is_never_looked_at():
    mask = np.zeros((10, 12), bool)
    mask[4:8, 4:10] = True
    complete = completion()
    task = complete._task(picture(), mask, None, 1, 0, False)
    drawing = task.make(7)
    noisy = Drawing(**{**vars(drawing), "fill": np.where(drawing.mask, 11, drawing.fill)})
    first, second = (list(d.steps())[-1].indices for d in (drawing, noisy))
    np.testing.assert_array_equal(first, second)


def test_blending_puts_the_source_back_outside_the_drawn_cells():
    x, mask = picture(11, 13), np.zeros((11, 13), np.uint8)
    mask[3, 3] = 255
    found = completion()(x, mask, blend=True)
    plain = completion()(x, mask)
    assert found.picture.shape == (10, 12, 3)
    outside = np.ones((10, 12), bool)
    outside[2:4, 2:4] = False
    np.testing.assert_array_equal(found.picture[outside], x[:10, :12][outside])
    np.testing.assert_array_equal(found.picture[2:4, 2:4], plain.picture[2:4, 2:4])
    assert not np.array_equal(plain.picture[outside], x[:10, :12][outside])
    decoded = tiny_model("unconditional").decode_to_img(tokens(plain.indices)).numpy()[0]
    np.testing.assert_array_equal(
        plain.picture, np.rint((decoded.clip(-1, 1) + 1) * 127.5).transpose(1, 2, 0)
    )


def test_masks_come_from_pictures_and_from_arrays(tmp_path):
    x, mask = picture(), np.zeros((10, 12), bool)
    mask[6:, 3:] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    clear = np.dstack([np.zeros((10, 12, 3), np.uint8), np.where(mask, 0, 255).astype(np.uint8)])
    Image.fromarray(clear, "RGBA").save(tmp_path / "hole.png")
    expected = completion()(x, mask).indices
    for given in (tmp_path / "mask.png", tmp_path / "hole.png", mask.astype(float)):
        np.testing.assert_array_equal(completion()(x, given).indices, expected)


def test_a_mask_of_everything_draws_what_the_sampler_draws():
    x, whole = picture(), np.ones((10, 12), bool)
    found = completion("segmentation")(x, whole, c=label_map())
    plain = ConditionalSampler(tiny_model("segmentation"), top_k=20, seed=7)(label_map())
    np.testing.assert_array_equal(found.indices, plain.indices)


def test_files_can_be_resumed_and_belong_to_one_mask(tmp_path, monkeypatch):
    x, mask = picture(), np.zeros((10, 12), bool)
    mask[4:, :] = True
    whole = completion("segmentation")(x, mask, c=label_map())
    steps = Drawing.steps

    def cut(self, indices=None, done=0):
        for step in steps(self, indices, done):
            if step.number > 9:
                raise KeyboardInterrupt
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Drawing, "steps", cut)
        with pytest.raises(KeyboardInterrupt):
            completion("segmentation", root=tmp_path)(x, mask, c=label_map(), name="a")
    with pytest.raises(ValueError, match="mask_sha256"):
        completion("segmentation", root=tmp_path)(x, c=label_map(), name="a")
    found = completion("segmentation", root=tmp_path)(x, mask, c=label_map(), name="a")
    np.testing.assert_array_equal(found.indices, whole.indices)
    np.testing.assert_array_equal(found.pictures, whole.pictures)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"a.png", "a.json", "a_segmentation.png", "a_reconstruction.png"} <= names
    assert "a.partial.npz" not in names


def test_the_picture_itself_is_never_written_over(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="reads itself"):
        completion(root=tmp_path, overwrite=True)(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        ("unconditional", lambda s: s(None), "no picture"),
        ("unconditional", lambda s: s(picture(1, 40)), "at least 2x2"),
        ("unconditional", lambda s: s(picture(), np.zeros((10, 12), bool)), "marks no cell"),
        ("unconditional", lambda s: s(picture(), np.ones((10, 11), bool)), "same size"),
        ("segmentation", lambda s: s(picture()), "needs a segmentation map"),
        ("segmentation", lambda s: s(picture(), c=label_map(20, 12)), "same size"),
        ("class", lambda s: s(picture(), c=50), "class 50 is unknown"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(kind, call, words):
    with pytest.raises(ValueError, match=words):
        call(completion(kind))

"""The page in a real browser: what a visitor sees, paints, uploads, waits for and takes home."""

from __future__ import annotations

import io
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from official.multimodal.taming_transformer import zoo
from official.multimodal.taming_transformer.cache import bundled_file
from official.multimodal.taming_transformer.checkpoint import write_safetensors
from tests.web_browser import browsing, chromium, served

pytestmark = [pytest.mark.slow, pytest.mark.browser]

MODELS = (
    "scenes_vqgan scenes_segmentation_transformer scenes_depth_transformer "
    "scenes_class_transformer scenes_unconditional_transformer"
).split()
TABS = ["Reconstruct", "Segmentation", "Depth", "Class", "Unconditional", "Complete"]
WATCH = """
const view = document.querySelector(arguments[0]), seen = [];
const look = () => {
    const image = view.querySelector('.view-grid img');
    const bar = view.querySelector('.view-progress div');
    seen.push([view.dataset.state, view.querySelector('.view-status').textContent,
               image ? image.src : '', parseFloat(bar.style.width)]);
};
new MutationObserver(look).observe(view, {subtree: true, childList: true, attributes: true});
window.seen = seen;
"""


def picture(height: int, width: int) -> np.ndarray:
    """Return a soft picture."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rows / 9 + k) * np.cos(columns / 11 - k) for k in range(3)]
    return np.stack(waves, 2).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Examples, uploads, and random weights of the small models that do not ship."""
    if chromium() is None:
        reason = "no chromium and chromedriver here: the page is not tried in a browser"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("web")
    for name in MODELS:
        if not bundled_file(name).is_file():
            state = getattr(zoo, name)().state_dict()
            values = {key: np.array(value) for key, value in state.items()}
            (folder / "cache").mkdir(exist_ok=True)
            write_safetensors(folder / "cache" / f"{name}.safetensors", values)
    ids = np.zeros((128, 128), np.uint8)
    ids[70:] = 7
    labels = Image.fromarray(ids, "P")
    labels.putpalette([value for n in range(12) for value in (20 * n, 255 - 20 * n, 90)])
    labels.save(folder / "scene_map.png")
    Image.fromarray(picture(128, 128)).save(folder / "scene_photo.png")
    depth = np.mgrid[:128, :128][0].astype(np.uint16) * 500
    Image.fromarray(depth).save(folder / "scene_depth.png")
    Image.fromarray(picture(150, 300)).save(folder / "wide.png")
    Image.new("RGB", (1500, 1000)).save(folder / "large.png")
    (folder / "text.png").write_text("no picture at all")
    (folder / "heavy.png").write_bytes(os.urandom(2**20 + 1))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    limits = ("--upload-mb", "1", "--megapixels", "1")
    with served(folder / "cache", folder, *limits) as address:
        yield address


@pytest.fixture(scope="module")
def page(folder, address):
    with browsing(folder, address) as page:
        page.open()
        yield page


def run(page, task: str, seconds: float = 90.0) -> dict:
    page.one(f"#{task}-run").click()
    page.wait("the run to begin", lambda: page.view(task)["state"] in ("waiting", "running"), 10)
    return page.ended(task, "done", seconds)


def record(view: dict) -> dict:
    """Return the JSON that belongs to what a view shows."""
    (link,) = [link for text, link in view["links"] if text == "JSON"]
    with urllib.request.urlopen(link) as answer:
        return json.load(answer)


def type_seed(page, task: str, text: str) -> None:
    """Type into the seed of the tab that is shown."""
    fields = [f for f in page.all("input[placeholder='fresh each time']") if f.is_displayed()]
    (field,) = fields or [
        f for f in page.all("textarea[placeholder='fresh each time']") if f.is_displayed()
    ]
    field.clear()
    field.send_keys(text)


def drag(page, task: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line on a board, in shares of its sides."""
    from selenium.webdriver import ActionChains

    frame = page.one(f"#{task}-board .board-frame")
    page.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    width, height = frame.size["width"], frame.size["height"]

    def offset(at: tuple[float, float]) -> tuple[int, int]:
        return int((at[0] - 0.5) * width), int((at[1] - 0.5) * height)

    mouse = ActionChains(page.browser, duration=60).move_to_element_with_offset(
        frame, *offset(start)
    )
    mouse.click_and_hold().move_to_element_with_offset(frame, *offset(end)).release().perform()


def test_the_page_needs_no_other_server_and_complains_of_nothing(page, address):
    assert [tab.text for tab in page.all("[role=tab]")] == TABS
    run(page, "reconstruct")
    asked = [url for url in page.requests() if not url.startswith(("chrome:", "data:", "blob:"))]
    assert len(asked) > 10
    assert not [url for url in asked if not url.startswith(address)]
    assert page.errors() == []


def test_a_photograph_is_uploaded_and_reconstructed(page, folder):
    page.tab("Reconstruct")
    page.upload("reconstruct", folder / "wide.png")
    frame = page.one("#reconstruct-board .board-frame")
    page.wait("the upload", lambda: "256 / 128" in frame.get_attribute("style"))
    view = run(page, "reconstruct")
    facts = record(view)
    assert np.array(facts["indices"]).shape == (16, 32)
    assert f"{facts['codes_used']} different codes" in view["message"]
    assert len(view["pictures"]) == 2  # both sides of the slider
    before = page.one("#reconstruct-view .view-before")
    page.browser.execute_script(
        "const r = document.querySelector('#reconstruct-view .view-range'); r.value = 20;"
        "r.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert "80%" in before.get_attribute("style")
    assert page.one("#reconstruct-view .view-codes img").is_displayed()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.png", "The file is no picture that can be read"),
        ("large.png", "The picture is too large: 1500x1000 pixels; expected at most 1 million"),
        ("heavy.png", "The file has 1.0 MB; at most 1.0 MB are taken"),
    ],
)
def test_wrong_files_are_told(page, folder, name, message):
    page.tab("Reconstruct")
    before = page.one("#reconstruct-board .board-photo").get_attribute("src")
    page.upload("reconstruct", folder / name)
    page.wait(f"the message of {name}", lambda: message in page.note("reconstruct"), 20)
    assert page.one("#reconstruct-board .board-photo").is_displayed()
    assert page.one("#reconstruct-board .board-photo").get_attribute("src") == before
    assert record(run(page, "reconstruct"))["task"] == "reconstruct"  # with what was there
    example = page.one("#reconstruct-board .board-bar button:nth-child(2)")
    example.click()
    page.wait("the example", lambda: page.note("reconstruct") == "")


def test_segmentation_streams_previews_and_its_seed_makes_it_again(page):
    page.tab("Segmentation")
    page.browser.execute_script(WATCH, "#segmentation-view .view")
    first = run(page, "segmentation")
    seen = page.browser.execute_script("return window.seen")
    running = [one for one in seen if one[0] == "running"]
    previews = {one[2] for one in running if one[2].startswith("data:image/png")}
    assert len(previews) >= 3
    assert any("of 256 · " in one[1] and "s left" in one[1] for one in running)
    widths = [one[3] for one in running]
    assert widths == sorted(widths)
    assert widths[-1] > widths[0]

    seed = record(first)["seed"]
    page.one("#segmentation-view .view-seed").click()
    type_again = page.wait(
        "the seed in its field",
        lambda: [
            f
            for f in page.all("input[placeholder='fresh each time'], textarea")
            if f.is_displayed() and f.get_attribute("value") == str(seed)
        ],
    )
    assert type_again
    second = run(page, "segmentation")
    assert second["pictures"] == first["pictures"]
    assert record(second)["indices"] == record(first)["indices"]

    # the same seed on another map: what was painted counts
    page.all("#segmentation-board .swatch")[9].click()
    drag(page, "segmentation", (0.2, 0.2), (0.8, 0.8))
    painted = run(page, "segmentation")
    assert record(painted)["map_sha256"] != record(first)["map_sha256"]
    assert record(painted)["seed"] == seed


def test_a_run_is_cancelled_and_the_next_one_works(page):
    page.tab("Unconditional")
    for label in ("Width (px)", "Height (px)"):
        fields = page.all(f"input[type=number][aria-label*='{label}']")
        (field,) = [field for field in fields if field.is_displayed()]
        field.clear()
        field.send_keys("256\t")
    page.one("#unconditional-run").click()
    page.wait("progress", lambda: page.view("unconditional")["state"] == "running", 60)
    page.one("#unconditional-cancel").click()
    view = page.ended("unconditional", "cancelled", 20)
    assert view["message"] == "Cancelled."
    assert view["links"] == []
    page.tab("Depth")
    view = run(page, "depth")
    assert record(view)["task"] == "depth"


def test_a_visitor_who_leaves_makes_room(page, address, tmp_path):
    with browsing(tmp_path, address) as other:
        other.open()
        other.tab("Unconditional")
        (count,) = [
            field
            for field in other.all("input[type=number][aria-label*='Pictures']")
            if field.is_displayed()
        ]
        count.clear()
        count.send_keys("16\t")
        other.one("#unconditional-run").click()
        other.wait("progress", lambda: other.view("unconditional")["state"] == "running", 60)
        page.tab("Reconstruct")
        page.one("#reconstruct-run").click()
        waiting = "Waiting: 1 run is before yours."
        page.wait("its turn", lambda: page.view("reconstruct")["message"] == waiting, 20)
    page.ended("reconstruct", "done", 30)


def test_settings_that_cannot_be_used_are_told(page):
    page.tab("Class")
    type_seed(page, "class", "-1")
    page.one("#class-run").click()
    view = page.ended("class", "error", 20)
    assert view["message"].startswith("The seed is '-1'; expected a whole number")
    type_seed(page, "class", "5")
    assert record(run(page, "class"))["seed"] == 5


def test_the_results_are_downloaded(page, folder):
    page.tab("Class")
    type_seed(page, "class", "11")
    view = run(page, "class")
    assert [text for text, _ in view["links"]] == ["Picture", "Video", "JSON", "All pictures"]
    assert len(view["pictures"]) == 4
    page.one("#class-view .view-links a").click()
    file = folder / "class_11.png"
    page.wait("the download", file.is_file, 20)
    with Image.open(file) as made:
        assert made.size == (256, 256)
        assert made.text["seed"] == "11"
    with urllib.request.urlopen(view["links"][1][1]) as answer:
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.read(12)[4:8] == b"ftyp"
    assert record(view)["seed"] == 11


def test_a_painted_map_is_drawn_at_another_side(page):
    page.tab("Segmentation")
    page.browser.execute_script(
        "const s = document.querySelector('#segmentation-board select'); s.value = '192';"
        "s.dispatchEvent(new Event('change'))"
    )
    canvas = page.one("#segmentation-board canvas")
    page.wait("the larger map", lambda: canvas.get_attribute("width") == "192")
    view = run(page, "segmentation")
    assert "192 x 192 pixels" in view["message"]
    assert np.array(record(view)["indices"]).shape == (1, 24, 24)


def test_the_boundary_is_dragged_and_the_rest_of_the_photograph_stays(page):
    page.tab("Complete")
    page.wait("the photograph", lambda: page.one("#complete-board .board-canvas").is_displayed())
    drag(page, "complete", (0.5, 0.5), (0.5, 0.76))
    view = run(page, "complete")
    facts = record(view)
    assert facts["cells"] == 4 * 16  # a quarter of 16 x 16, snapped to whole cells
    with urllib.request.urlopen(view["links"][0][1]) as answer:
        made = np.asarray(Image.open(io.BytesIO(answer.read())))
    assert np.array_equal(made[:96], picture(128, 128)[:96])
    assert not np.array_equal(made[96:], picture(128, 128)[96:])


def test_paths_from_a_client_are_refused(address):
    for path in ("gradio_api/file=README.md", "gradio_api/file=/etc/passwd", "gradio_api/upload"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address + path)
        assert refused.value.code == 404
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [file, "scenes_vqgan"], "fn_index": 0, "session_hash": "x"})
    request = urllib.request.Request(
        f"{address}gradio_api/queue/join", body.encode(), {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400


def test_the_page_fits_a_phone(folder, address, tmp_path):
    with browsing(tmp_path, address, 390, 844) as page:
        page.open()
        assert [tab.text for tab in page.all("[role=tab]")] == TABS
        for title in TABS:
            page.tab(title)
            wide = page.browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= 390, title
        for button in ("complete-run", "complete-cancel"):
            assert page.one(f"#{button}").size["height"] >= 40

"""The table of sources: every model has its rows, and every address is one that can be asked."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from official.multimodal.taming_transformer.convert import part_prefix
from official.multimodal.taming_transformer.origins import by_hand, names_by_hand
from official.multimodal.taming_transformer.pretrained import LICENCES, SHIPPED, SOURCES
from official.multimodal.taming_transformer.sources import Source
from official.multimodal.taming_transformer.zoo import MODELS, expected_shapes

FILES = [(name, file) for name, row in SOURCES.items() for s in row for file in s.files]
MEGENGINE = "data.megengine.org.cn"
# published as one of these models, but of another content
MISLABELLED = ("valhalla", "boris", "flax-community", "Sber", "rudalle", "dalle-mini", "batbot")


def test_every_published_model_is_in_both_tables() -> None:
    assert set(SOURCES) | set(SHIPPED) == set(MODELS)
    assert not set(SOURCES) & set(SHIPPED)
    assert set(LICENCES) == set(MODELS)
    assert all(SOURCES.values())


@pytest.mark.parametrize(("name", "file"), FILES)
def test_source_is_well_formed(name: str, file: Source) -> None:
    address = urlsplit(file.url)
    assert address.scheme == "https"
    assert address.hostname
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.size is None or file.size > 1_000_000
    assert not any(word in file.url for word in MISLABELLED)
    assert file.note
    assert "koofr" not in file.url or file.headers["Referer"].startswith("https://app.koofr.net/")
    part_prefix(file.part)


@pytest.mark.parametrize("name", SOURCES)
def test_first_is_megengine_then_upstream_then_copies(name: str) -> None:
    ranks = ["converted by MegEngine", "upstream", "copy"]
    whole = [s for s in SOURCES[name] if not s.part]
    found = [next(i for i, r in enumerate(ranks) if s.note.startswith(r)) for s in whole]
    assert found == sorted(found)


def test_no_source_is_listed_twice_for_a_model() -> None:
    for row in SOURCES.values():
        assert len({(s.url, s.part) for s in row}) == len(row)


def test_one_address_always_has_one_digest() -> None:
    digests: dict[str, set[str | None]] = {}
    for _, file in FILES:
        digests.setdefault(file.url, set()).add(file.sha256)
    assert all(len(found) == 1 for found in digests.values())


def test_sizes_leave_room_for_the_parameters() -> None:
    for name, row in SOURCES.items():
        need = 4 * sum(_count(shape) for shape in expected_shapes(name).values())
        for source in row:
            assert source.size is None or source.size > need


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a/b/c.ckpt", "c.ckpt"),
        ("https://a/b/c.ckpt?download=1", "c.ckpt"),
        ("https://heibox/f/0123456789/?dl=1", ""),
        ("https://heibox/d/012/files/?p=%2Fckpts%2Flast.ckpt&dl=1", "last.ckpt"),
        ("https://drive/download?id=1&export=download", ""),
    ],
)
def test_file_name_is_that_of_the_address(url: str, name: str) -> None:
    assert Source(url).file_name == name


def test_names_by_hand_are_the_models_and_the_published_ones() -> None:
    names = names_by_hand("dalle_dvae_f8", SOURCES["dalle_dvae_f8"])
    assert names[:2] == ["dalle_dvae_f8.safetensors", "dalle_dvae_f8.ckpt"]
    assert "encoder.pkl + decoder.pkl" in names
    assert "last.ckpt" not in names_by_hand("ffhq_transformer", SOURCES["ffhq_transformer"])


def test_file_of_two_names_is_looked_at_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "m.pkl").write_bytes(b"x")
    assert len(list(by_hand("m", [Source("https://a/m.pkl")], tmp_path))) == 1

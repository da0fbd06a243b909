"""Options, markers and fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any test imports megengine: its first operator on the default device prints a page
# about CUDA where there is none, and pytest-xdist already gives every core a process.
os.environ.setdefault("MGE_DEFAULT_DEVICE", "cpu0")

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow and the browser tests too")
    parser.addoption("--network", action="store_true", help="run tests that need the Internet")


def pytest_configure(config: pytest.Config) -> None:
    try:
        from hypothesis import settings
    except ModuleNotFoundError:
        return
    settings.register_profile("suite", deadline=None, derandomize=True)
    settings.load_profile("suite")


def _gpu_found() -> bool:
    import megengine

    return bool(megengine.is_cuda_available())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = set()
    if not config.getoption("--all"):
        left_out |= {"slow", "browser"}
    if not config.getoption("--network"):
        left_out.add("network")
    kept, dropped = [], []
    for item in items:
        names = {mark.name for mark in item.iter_markers()}
        (dropped if names & left_out else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _gpu_found():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="MegEngine finds no GPU here"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with real photographs and maps, named by TAMING_TEST_DATA; skips without it."""
    named = os.environ.get("TAMING_TEST_DATA", "")
    if not named:
        pytest.skip("TAMING_TEST_DATA names no folder with real photographs and maps")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"TAMING_TEST_DATA={named} is not a folder")
    return folder

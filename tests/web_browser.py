"""A page of the web demo in a process of its own, and headless Chromium to look at it."""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
).split()
START = 120.0
"""Seconds for the server to be there, on a busy machine."""


def chromium() -> str | None:
    """Return the browser's path, ``None`` where there is none with its driver."""
    if shutil.which("chromedriver") is None:
        return None
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def served(cache: Path, examples: Path, *arguments: str) -> Iterator[str]:
    """Run the page and yield its address."""
    command = [sys.executable, "tools/web_demo.py", "--examples", str(examples), *arguments]
    environment = {**os.environ, "TAMING_CACHE": str(cache)}
    environment.pop("MGE_DEFAULT_DEVICE", None)  # conftest's, which suits many processes
    process = subprocess.Popen(
        [*command, "--port", str(free_port())],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    said, end = "", time.monotonic() + START
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < end and process.poll() is None:
            if selector.select(1.0):
                said += process.stdout.readline()
                found = re.search(r"page is at (http://\S+)", said)
                if found:
                    return found[1]
    raise AssertionError(f"the page did not start: {said}")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """A browser with the page open."""

    def __init__(self, browser: Any, address: str):
        self.browser = browser
        self.address = address

    def open(self) -> None:
        self.browser.get(self.address)
        self.wait("the page's tabs", lambda: len(self.all("[role=tab]")) >= 6)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def tab(self, title: str) -> None:
        """Go to a tab."""
        for tab in self.all("[role=tab]"):
            if tab.text.strip() == title:
                tab.click()
                return
        raise AssertionError(f"no tab {title}: {[tab.text for tab in self.all('[role=tab]')]}")

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until a condition gives something true, and return that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s in vain for {what}; errors: {self.errors()}")

    def view(self, task: str) -> dict[str, Any]:
        """Return what a tab's view shows."""
        return self.browser.execute_script(
            """const view = document.querySelector(arguments[0]);
            const seen = (s) => [...view.querySelectorAll(s)].filter((n) => !n.closest('[hidden]'));
            return {
                state: view.dataset.state,
                message: view.querySelector('.view-status').textContent,
                pictures: seen('.view-grid img, .view-slider img').map((n) => n.src),
                sizes: seen('.view-grid img').map((n) => n.naturalWidth),
                links: seen('.view-links a').map((n) => [n.textContent, n.href]),
                progress: seen('.view-progress div').map((n) => n.style.width),
            };""",
            f"#{task}-view .view",
        )

    def ended(self, task: str, state: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait for a state of a tab's view and return what it shows then.

        ``seconds`` count from the last change of what is shown: a run that goes on may take as
        long as a machine with other tests on it needs.
        """
        view, end = self.view(task), time.monotonic() + seconds
        while view["state"] != state:
            assert time.monotonic() < end, (
                f"{task} was to be {state} and for {seconds} s remained "
                f"{view['state']}, {view['message']!r}; errors: {self.errors()}"
            )
            time.sleep(0.05)
            before, view = view, self.view(task)
            if view != before:
                end = time.monotonic() + seconds
        return view

    def upload(self, task: str, path: Path) -> None:
        """Hand a file to a tab's board."""
        self.browser.execute_script(
            "document.querySelector(arguments[0]).style.display = 'block'",
            f"#{task}-board .board-file",
        )
        self.one(f"#{task}-board .board-file").send_keys(str(path))

    def note(self, task: str) -> str:
        """Return what a board says."""
        return self.one(f"#{task}-board .board-note").text

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call."""
        logged = (
            json.loads(line["message"])["message"] for line in self.browser.get_log("performance")
        )
        return [
            event["params"]["request"]["url"]
            for event in logged
            if event["method"] == "Network.requestWillBeSent"
        ]

    def errors(self) -> list[str]:
        """Return what the browser's console complains about."""
        return [e["message"] for e in self.browser.get_log("browser") if e["level"] == "SEVERE"]


@contextmanager
def browsing(folder: Path, address: str, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Start a fresh browser whose profile and downloads lie in ``folder``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    for flag in (
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder), "download.prompt_for_download": False}
    )
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        yield Page(browser, address)
    finally:
        browser.quit()

"""A browser, the page opened in it, and a phantom clip."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lus_ray.data.ingest import phantom
from tests.serve.page.actions import predict
from tests.serve.service import request, to_video

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def clip() -> bytes:
    row = next(iter(phantom.clips(None, patients=1, clips=1, frames=24, size=160)))
    return to_video(np.asarray(row["frames"]))


@pytest.fixture(scope="module")  # its event loop disturbs tests that have one of their own
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opening(browser: Browser, url: str) -> Iterator[Page]:
    """The open page; errors in the browser's console fail the test."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text))
        opened.goto(url)
        expect(opened.locator("#models-summary")).to_contain_text("backbone")
        yield opened
        assert [text for text in errors if "Failed to load resource" not in text] == []


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opening(browser, url) as opened:
        yield opened


@pytest.fixture(scope="session")
def response(url: str, clip: bytes) -> dict[str, Any]:
    """The API's response to the clip."""
    return request(f"{url}/v1/clips", clip).json


@pytest.fixture(scope="module")
def player(browser: Browser, url: str, clip: bytes) -> Iterator[Page]:
    """The page with a predicted clip, which several tests use in turn."""
    with opening(browser, url) as opened:
        predict(opened, clip)
        yield opened

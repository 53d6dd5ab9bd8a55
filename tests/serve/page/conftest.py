"""The browser of the distribution, the page opened in it, and a phantom clip."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lus_ray.data.ingest import phantom
from tests.serve.service import film

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def clip() -> bytes:
    """A phantom clip of 24 frames."""
    row = next(iter(phantom.clips(None, patients=1, clips=1, frames=24, size=160)))
    return film(np.asarray(row["frames"]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of the distribution, without a window."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, served: str) -> Iterator[Page]:
    """The page, opened; complaints of the browser, such as of its policy, fail the test."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        opened = context.new_page()
        complaints: list[str] = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda said: complaints.append(said.text))
        opened.goto(served)
        expect(opened.locator("#served-words")).to_contain_text("backbone")
        yield opened
        assert [
            said for said in complaints if "the server responded with a status" not in said
        ] == []

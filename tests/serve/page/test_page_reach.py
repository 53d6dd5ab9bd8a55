"""The page for everybody: by keyboard, on a phone, in the dark, and with nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lus_ray.figures import CLASS_COLOURS
from tests.serve.page.reading import CONTRASTS, SHIFTS, read

PAGE = Path(__file__).parents[3] / "serve" / "page.html"

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_space_plays_and_arrows_step_through_the_frames(page: Page, clip: bytes):
    read(page, clip)
    page.locator("#stage").focus()
    page.keyboard.press("Home")
    expect(page.locator("#where")).to_contain_text("Frame 1 of 24")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#where")).to_contain_text("Frame 2 of 24, 0.04 s")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#where")).to_contain_text("Frame 1 of 24")
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    expect(page.locator("#where")).not_to_contain_text("Frame 1 of 24")
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Play")
    page.keyboard.press("End")
    expect(page.locator("#where")).to_contain_text("Frame 24 of 24")
    page.locator("#slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#where")).to_contain_text("Frame 23 of 24")


def test_a_click_on_the_strip_goes_to_its_frame(page: Page, clip: bytes):
    read(page, clip)
    box = page.locator("#strip").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.51, box["y"] + 5)
    expect(page.locator("#where")).to_contain_text("Frame 13 of 24")


def test_everything_can_be_reached_with_the_tab_key(page: Page, clip: bytes):
    read(page, clip)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    wanted = {"choose", "uncertainty", "allow-text", "stage", "play", "slider", "overlay"}
    assert wanted | {"opacity", "save"} <= reached


def test_the_overlay_can_be_taken_off(page: Page, clip: bytes):
    read(page, clip)
    pixels = "document.getElementById('picture').toDataURL()"
    page.locator("#opacity").fill("100")
    covered = page.evaluate(pixels)
    page.locator("#overlay").uncheck()
    bare = page.evaluate(pixels)
    page.locator("#overlay").check()
    page.locator("#opacity").fill("0")
    assert covered != bare
    assert page.evaluate(pixels) == bare


def test_nothing_is_loaded_from_elsewhere(page: Page, served: str, clip: bytes):
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.reload()
    read(page, clip)
    outside = [at for at in addresses if not at.startswith((served, "data:", "blob:"))]
    assert outside == []


def test_the_policy_stops_a_script_that_is_not_the_pages_own(browser: Browser, served: str):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(served)
        page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.ran = true";
              document.body.append(script);
            }"""
        )
        assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_text_stands_out_and_nothing_is_wider_than_the_screen(
    page: Page, clip: bytes, scheme: str, width: int
):
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    read(page, clip)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 150
    assert contrasts[0][0] >= 4.5, contrasts[0]


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_jumps_while_a_clip_is_read(page: Page, clip: bytes, width: int):
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    page.evaluate(SHIFTS)
    expect(page.locator("#served-words")).to_contain_text("backbone")
    read(page, clip)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") < 0.05


def test_the_page_is_one_style_and_one_script_that_write_text_only():
    source = PAGE.read_text()
    assert source.count("<style") == source.count("<style>") == 1
    assert source.count("<script") == source.count("<script>") == 1
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source)
    assert not re.search(r"https?://", source)
    markup = source.partition("</style>")[2].partition("<script>")[0]
    assert not re.search(r"\sstyle=|\son[a-z]+=", markup)


def test_a_score_has_the_colour_of_its_marker_class():
    shown = re.search(r"const SCORES = \[(.*?)\];", PAGE.read_text(), re.S)
    assert shown is not None
    assert tuple(re.findall(r"#[0-9a-f]{6}", shown[1])) == CLASS_COLOURS[:4]

"""The page by keyboard, on a phone, in the dark, and without resources from other sites."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serve.page.actions import CONTRASTS, SHIFTS, part, predict

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_keys_play_step_and_zoom(player: Page):
    frame, layers = expect(part(player, "where")), expect(part(player, "layers"))
    part(player, "stage").focus()
    for key, text in (
        ("Home", "Frame 1 of 24"), ("ArrowRight", "Frame 2 of 24, 0.04 s"),
        ("ArrowLeft", "Frame 1 of 24"), ("ArrowLeft", "Frame 1 of 24"),
    ):  # fmt: skip
        player.keyboard.press(key)
        frame.to_contain_text(text)
    player.keyboard.press("Space")
    expect(part(player, "play")).to_have_text("Pause")
    frame.not_to_contain_text("Frame 1 of 24")
    player.keyboard.press("Space")
    expect(part(player, "play")).to_have_text("Play")
    player.keyboard.press("End")
    frame.to_contain_text("Frame 24 of 24")
    for key, transform in (
        ("+", "translate(0px, 0px) scale(1.5)"), ("Shift+ArrowRight", "translate(-40px, 0px)"),
        ("0", "translate(0px, 0px) scale(1)"),
    ):  # fmt: skip
        player.keyboard.press(key)
        layers.to_have_attribute("style", re.compile(re.escape(transform)))
    part(player, "slider").focus()
    player.keyboard.press("ArrowLeft")
    frame.to_contain_text("Frame 23 of 24")


def test_a_click_on_the_timeline_goes_to_its_frame(player: Page):
    part(player, "timeline").scroll_into_view_if_needed()
    box = part(player, "timeline").bounding_box()
    assert box is not None
    player.mouse.click(box["x"] + box["width"] * 0.51, box["y"] + 5)
    expect(part(player, "where")).to_contain_text("Frame 13 of 24")


def test_all_controls_can_be_reached_with_the_tab_key(player: Page):
    player.get_by_text("Options").click()
    player.locator("#add").focus()
    reached = set()
    for _ in range(50):
        player.keyboard.press("Tab")
        reached.add(player.evaluate("document.activeElement.dataset.part"))
    controls = {"choose", "example", "uncertainty", "allowText", "stage", "play", "slider", "speed"}
    controls |= {"overlay", "opacity", "brightness", "contrast", "zoomIn", "zoomOut", "reset"}
    assert controls <= reached


def test_overlay_and_picture_are_adjusted_apart(player: Page):
    overlay = "document.querySelector('[data-part=marks]').toDataURL()"
    part(player, "overlay").select_option("masks")
    part(player, "opacity").fill("100")
    with_overlay = player.evaluate(overlay)
    part(player, "overlay").select_option("none")
    without = player.evaluate(overlay)
    part(player, "overlay").select_option("masks")
    part(player, "opacity").fill("0")
    assert with_overlay != without == player.evaluate(overlay)
    part(player, "brightness").fill("150")
    expect(part(player, "picture")).to_have_css("filter", "brightness(1.5) contrast(1)")
    expect(part(player, "marks")).to_have_css("filter", "none")


def test_the_policy_blocks_a_foreign_script(browser: Browser, url: str):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.evaluate(
            """document.body.append(
              Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }))"""
        )
        assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("width", [390, 1400])
def test_text_has_contrast_and_nothing_is_wider_than_the_screen(player: Page, width: int):
    player.set_viewport_size({"width": width, "height": 800})
    player.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    for scheme in ("light", "dark"):
        player.emulate_media(color_scheme=scheme)
        assert player.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = player.evaluate(CONTRASTS)
        assert len(contrasts) > 150
        assert contrasts[0][0] >= 4.5, (scheme, contrasts[0])


@pytest.mark.parametrize("width", [390, 1400])
def test_a_prediction_moves_nothing_and_loads_nothing_from_other_sites(
    page: Page, url: str, clip: bytes, width: int
):
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.set_viewport_size({"width": width, "height": 800})
    page.reload()
    page.evaluate(SHIFTS)
    expect(page.locator("#models-summary")).to_contain_text("backbone")
    predict(page, clip)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") < 0.05
    assert [a for a in addresses if not a.startswith((url, "data:", "blob:"))] == []

"""The page in a real browser, against the real service: it shows what the API returns."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.serve.page import actions
from tests.serve.page.actions import PREDICTED, TIMEOUT_MS, choose, predict, rounded, texts
from tests.serve.service import request, to_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_page_shows_the_predictions_of_the_api(page: Page, url: str, clip: bytes):
    response = request(f"{url}/v1/clips", clip).json
    predict(page, clip)
    probability = response["biomarkers"]["probability"]
    assert texts(page, "#groups .number") == rounded(probability)
    assert len(texts(page, "#groups .present")) == sum(p >= 0.5 for p in probability)
    for group in response["experts"]:
        rows = page.locator(f"#expert-{group['label']} tbody tr:not(.source)")
        for row, expert in enumerate(group["answers"]):
            cells = rows.nth(row).locator("td").all_inner_texts()
            assert cells == rounded(expert["probability"])
    scores = [score["classes"][score["score"]] for score in response["clip_scores"]]
    assert texts(page, ".score h3 span:last-child") == scores
    neutral = [e for score in response["clip_scores"] for e in score["neutral"] or []]
    assert [e for e in texts(page, ".score li .soft") if e] == [f"e {e}" for e in rounded(neutral)]
    shares = [f"{share} %" for share in rounded([100 * s for s in response["masks"]["share"]])]
    assert texts(page, "#classes td:nth-child(2)") == shares
    page.locator("#versions summary").click()
    assert texts(page, "#models td:first-child") == [model["id"] for model in response["models"]]
    expect(page.locator("#notice")).to_be_in_viewport()
    expect(page.locator("#warning")).to_be_hidden()


def test_a_dropped_clip_is_predicted_and_its_name_is_not_sent(page: Page, clip: bytes):
    page.evaluate(actions.WATCH_NAMES)
    dropped = page.evaluate_handle(
        """([bytes, name]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          return data;
        }""",
        [list(clip), actions.NAME],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": dropped})
    expect(page.locator("#drop")).to_have_class(re.compile("over"))
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    page.wait_for_selector(PREDICTED, timeout=TIMEOUT_MS)
    assert page.evaluate("window.names") == ["clip"]


def test_the_uncertainty_of_the_masks_is_shown_on_request(page: Page, clip: bytes):
    page.locator("#uncertainty").check()
    with page.expect_response("**/v1/clips?*", timeout=TIMEOUT_MS) as reply:
        predict(page, clip)
    uncertainty = reply.value.json()["masks"]["uncertainty"]
    assert texts(page, "#classes td:nth-child(3)") == rounded(uncertainty, 3)


def test_an_error_is_one_line_that_screen_readers_announce(page: Page):
    choose(page, b"not a clip at all")
    error = page.get_by_role("alert")
    expect(error).not_to_be_empty(timeout=TIMEOUT_MS)
    assert not re.search("\n|Traceback", error.inner_text())
    expect(page.locator("#result")).to_be_hidden()


def test_a_clip_that_is_not_ultrasound_gets_a_warning(page: Page, url: str):
    clip = to_video(np.random.default_rng(0).integers(0, 255, (12, 120, 160), dtype=np.uint8))
    assert not request(f"{url}/v1/clips", clip).json["lung_ultrasound"]["likely"]
    predict(page, clip)
    expect(page.locator("#warning")).to_be_visible()
    expect(page.locator("#warning")).to_contain_text("does not look like lung ultrasound")


def test_a_token_is_requested_before_anything_is_sent_and_stays_in_the_page(
    page: Page, clip: bytes
):
    sent: list[str] = []

    def require_token(route: Route) -> None:
        headers, method = dict(route.request.headers), route.request.method
        if headers.pop("authorization", "") == "Bearer right":
            sent.append(method)
            route.continue_(headers=headers)
        else:
            sent.append(f"rejected {method}")
            route.fulfill(status=401, json={"error": "send the token"})

    page.route("**/v1/**", require_token)
    page.reload()
    expect(page.locator("#models-summary")).to_contain_text("token")
    choose(page, clip)
    for token in ("wrong", "right"):
        if not page.locator("#key").is_visible():
            page.locator("#again").click()
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        page.wait_for_function("!document.getElementById('key').open")
        if token == "wrong":
            expect(page.get_by_role("alert")).to_contain_text("rejects this token")
    page.wait_for_selector(PREDICTED, timeout=TIMEOUT_MS)
    assert sent == ["rejected GET", "rejected GET", "GET", "POST"]
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert page.context.cookies() == []


def test_a_busy_service_is_asked_again_at_a_click(page: Page, clip: bytes):
    busy = {"status": 429, "headers": {"Retry-After": "2"}, "json": {"error": "too many clips"}}
    page.route("**/v1/clips?*", lambda route: route.fulfill(**busy), times=1)
    choose(page, clip)
    expect(page.get_by_role("alert")).to_have_text("Too many clips (try again in 2 s)")
    page.locator("#again").click()
    page.wait_for_selector(PREDICTED, timeout=TIMEOUT_MS)
    expect(page.get_by_role("alert")).to_be_empty()

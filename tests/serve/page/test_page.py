"""The page in a real browser, against the real service: what a reader sees is what the API says."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.serve.page.reading import (
    ANSWER_MS,
    ANSWERED,
    NAME,
    WATCH_NAMES,
    choose,
    read,
    shares,
    texts,
)
from tests.serve.service import ask, film

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_page_shows_what_the_api_says(page: Page, served: str, clip: bytes):
    answer = ask(f"{served}/v1/clips", clip).json
    read(page, clip)
    assert texts(page, "#groups .number") == shares(answer["biomarkers"]["probability"])
    assert len(texts(page, "#groups .ticked")) == sum(
        p >= 0.5 for p in answer["biomarkers"]["probability"]
    )
    for task in answer["experts"]:
        for row, expert in enumerate(task["answers"]):
            experts = page.locator(f"#expert-{task['label']} tbody tr:not(.source)")
            cells = experts.nth(row).locator("td")
            assert cells.all_inner_texts() == shares(expert["probability"])
    scores = [clip_score["classes"][clip_score["score"]] for clip_score in answer["clip_scores"]]
    assert texts(page, ".score h3 span:last-child") == scores
    learned = [e for one in answer["clip_scores"] for e in one["neutral"] or []]
    assert [e for e in texts(page, ".score li .soft") if e] == [f"e {e}" for e in shares(learned)]
    assert texts(page, "#classes td:nth-child(2)") == [
        f"{part} %" for part in shares([100 * part for part in answer["masks"]["share"]])
    ]
    page.locator("#listed summary").click()
    assert texts(page, "#models td:first-child") == [model["id"] for model in answer["models"]]
    expect(page.locator("#notice")).to_be_in_viewport()


def test_a_dropped_clip_is_read_and_its_name_stays_with_the_reader(page: Page, clip: bytes):
    page.evaluate(WATCH_NAMES)
    given = page.evaluate_handle(
        """([bytes, name]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          return data;
        }""",
        [list(clip), NAME],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": given})
    expect(page.locator("#drop")).to_have_class(re.compile("over"))
    page.dispatch_event("#drop", "drop", {"dataTransfer": given})
    page.wait_for_selector(ANSWERED, timeout=ANSWER_MS)
    assert page.evaluate("window.names") == ["clip"]


def test_the_uncertainty_of_the_masks_is_shown_where_it_is_asked_for(page: Page, clip: bytes):
    page.locator("#uncertainty").check()
    with page.expect_response("**/v1/clips?*", timeout=ANSWER_MS) as reply:
        read(page, clip)
    spread = reply.value.json()["masks"]["uncertainty"]
    shown = texts(page, "#classes td:nth-child(3)")
    assert shown == ([] if spread is None else shares(spread, 3))


def test_what_is_no_clip_is_one_line_that_is_read_aloud(page: Page):
    choose(page, b"not a clip at all")
    error = page.get_by_role("alert")
    expect(error).not_to_be_empty(timeout=ANSWER_MS)
    assert "\n" not in error.inner_text()
    assert "Traceback" not in error.inner_text()
    expect(page.locator("#answer")).to_be_hidden()


def test_a_clip_of_something_else_is_flagged(page: Page, served: str):
    noise = np.random.default_rng(0).integers(0, 255, (12, 120, 160), dtype=np.uint8)
    content = film(noise)
    assert not ask(f"{served}/v1/clips", content).json["lung_ultrasound"]["likely"]
    read(page, content)
    expect(page.locator("#doubt")).to_be_visible()
    expect(page.locator("#doubt")).to_contain_text("does not look like lung ultrasound")


def test_a_clip_of_a_lung_is_not_flagged(page: Page, clip: bytes):
    read(page, clip)
    expect(page.locator("#doubt")).to_be_hidden()


def test_a_token_is_asked_for_before_anything_is_sent_and_kept_in_the_page_only(
    page: Page, served: str, clip: bytes
):
    sent: list[str] = []

    def gate(route: Route) -> None:
        """What a service with a token says, in front of the one without."""
        headers = route.request.headers
        if headers.get("authorization") == "Bearer right":
            sent.append(route.request.method)
            kept = {name: value for name, value in headers.items() if name != "authorization"}
            route.continue_(headers=kept)
        else:
            sent.append(f"refused {route.request.method}")
            route.fulfill(status=401, json={"error": "send the token"})

    page.route("**/v1/**", gate)
    page.reload()
    expect(page.locator("#served-words")).to_contain_text("token")
    choose(page, clip)
    for token in ("wrong", "right"):
        if not page.locator("#key").is_visible():
            page.locator("#again").click()
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        page.wait_for_function("!document.getElementById('key').open")
        if token == "wrong":
            expect(page.get_by_role("alert")).to_contain_text("does not take this token")
    page.wait_for_selector(ANSWERED, timeout=ANSWER_MS)
    assert sent == ["refused GET", "refused GET", "GET", "POST"]
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert page.context.cookies() == []


def test_a_busy_service_is_asked_again_at_a_click(page: Page, clip: bytes):
    busy = {"status": 429, "headers": {"Retry-After": "2"}, "json": {"error": "too many clips"}}
    page.route("**/v1/clips?*", lambda route: route.fulfill(**busy), times=1)
    choose(page, clip)
    expect(page.get_by_role("alert")).to_have_text("Too many clips (try again in 2 s)")
    page.locator("#again").click()
    page.wait_for_selector(ANSWERED, timeout=ANSWER_MS)
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.data
def test_a_real_clip_is_shown_with_the_numbers_of_the_api(
    page: Page, served: str, shared_data: Path
):
    content = min((shared_data / "covid_blues" / "lus_videos").iterdir()).read_bytes()
    answer = ask(f"{served}/v1/clips", content).json
    read(page, content)
    assert texts(page, "#groups .number") == shares(answer["biomarkers"]["probability"])
    frames = answer["clip"]["num_frames"]
    expect(page.locator("#where")).to_contain_text(f"of {frames}")
    expect(page.locator("#doubt")).to_be_hidden()

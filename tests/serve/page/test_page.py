"""The page in a real browser, against the real service: it shows what the API returns."""

import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.serve.page import actions
from tests.serve.page.actions import PREDICTED, TIMEOUT_MS, choose, part, predict, rounded, texts
from tests.serve.service import request, to_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_page_warns_before_any_clip_and_takes_every_format(page: Page, url: str):
    served = request(f"{url}/v1/models").json
    assert "synthetic" in served["banner"]
    expect(page.locator("#banner")).to_have_text(served["banner"])
    expect(page.locator("#banner")).to_be_in_viewport()
    expect(page.locator("#notice")).to_be_in_viewport()
    accepted = str(part(page, "file").get_attribute("accept")).split(",")
    assert accepted == [*served["formats"], "*/*"]


def test_the_summary_holds_only_what_the_api_summarises(player: Page, response: dict[str, Any]):
    summary = part(player, "summary")
    signs = response["biomarkers"]
    assert summary.locator(".findings li").count() == len(signs["findings"])
    untrained = [name for name, k in zip(signs["names"], signs["trained"], strict=True) if not k]
    assert untrained
    expect(summary.locator(".untrained")).to_contain_text("; ".join(untrained))
    for group in response["experts"]:
        expect(summary).to_contain_text(group["summary"])
        folded = player.locator(f"details.expert-{group['label']}")
        expect(folded).not_to_have_attribute("open", "")
        for expert in group["answers"]:
            assert (not expert["in_summary"]) == bool(expert["reason"])
            assert expert["reason"][1:] in str(folded.text_content())
    expect(part(player, "warning")).to_be_hidden()


def test_the_folded_parts_show_the_numbers_of_the_api(player: Page, response: dict[str, Any]):
    signs = response["biomarkers"]
    trained = [p for p, k in zip(signs["probability"], signs["trained"], strict=True) if k]
    assert texts(player, ".group .number:not(.soft)") == rounded(trained)
    for group in response["experts"]:
        for expert in group["answers"]:
            cells = texts(player, f'tr[data-model="{expert["model"]}"] td')
            assert cells == rounded(expert["probability"])
    scores = [score["classes"][score["score"]] for score in response["clip_scores"]]
    assert texts(player, ".score h3 > span:last-child") == scores
    neutral = [e for score in response["clip_scores"] for e in score["neutral"] or []]
    assert texts(player, ".score li .soft") == [f"e {e}" for e in rounded(neutral)]
    assert texts(player, "#models th span") == [model["id"] for model in response["models"]]


def test_a_number_is_explained_at_a_click(player: Page):
    score = part(player, "summary").get_by_role("button").first
    score.click()
    note = player.locator(".note:popover-open")
    expect(note).to_contain_text("How much the picture looks like lung ultrasound")
    expect(note).to_be_in_viewport(ratio=1)
    player.keyboard.press("Escape")
    expect(note).to_have_count(0)


def test_the_example_is_called_synthetic(page: Page):
    with page.expect_request("**/v1/clips?*") as sent:
        part(page, "example").click()
    page.locator(PREDICTED).wait_for(timeout=TIMEOUT_MS)
    assert "attention=true" in sent.value.url
    expect(part(page, "caption")).to_contain_text("It shows no patient.")
    expect(part(page, "summary")).to_contain_text("Looks like lung ultrasound")


def test_a_second_clip_is_dropped_beside_the_first_and_both_play_together(page: Page, clip: bytes):
    page.evaluate(actions.WATCH_NAMES)
    predict(page, clip)
    page.locator("#add").click()
    slots = [page.locator(".slot").nth(k) for k in range(2)]
    dropped = page.evaluate_handle(
        """([bytes, name]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          return data;
        }""",
        [list(clip), actions.NAME],
    )
    part(slots[1], "drop").dispatch_event("dragover", {"dataTransfer": dropped})
    expect(part(slots[1], "drop")).to_have_class(re.compile("over"))
    part(slots[1], "drop").dispatch_event("drop", {"dataTransfer": dropped})
    slots[1].locator(PREDICTED).wait_for(timeout=TIMEOUT_MS)
    assert page.evaluate("window.names") == ["clip", "clip"]
    page.locator("#together").check()
    part(slots[0], "stage").focus()
    page.keyboard.press("End")
    for slot in slots:
        expect(part(slot, "where")).to_contain_text("Frame 24 of 24")
    part(slots[1], "play").click()
    expect(part(slots[0], "play")).to_have_text("Pause")
    page.locator("#remove").click()
    expect(page.locator(".slot")).to_have_count(1)


def test_the_masks_and_their_uncertainty_are_shown_on_request(page: Page, clip: bytes):
    page.get_by_text("Options").click()
    part(page, "uncertainty").check()
    with page.expect_response("**/v1/clips?*", timeout=TIMEOUT_MS) as reply:
        predict(page, clip)
    masks = reply.value.json()["masks"]
    part(page, "overlay").select_option("masks")
    shares = [f"{share} %" for share in rounded([100 * s for s in masks["share"]])]
    assert texts(page, ".classes td:nth-child(2)") == shares
    assert texts(page, ".classes td:nth-child(3)") == rounded(masks["uncertainty"], 3)


@pytest.mark.parametrize(
    ("reachable", "words"), [(True, "neither a video nor an image"), (False, "reached")]
)
def test_an_error_is_a_sentence_that_has_the_focus(page: Page, reachable: bool, words: str):
    if not reachable:
        page.route("**/v1/clips?*", lambda route: route.abort())
    choose(page, b"not a clip at all")
    error = page.get_by_role("alert")
    expect(error).to_contain_text(words, timeout=TIMEOUT_MS)
    expect(error).to_be_focused()
    assert re.fullmatch(r"[A-Z][^\n]+\.", error.inner_text())
    expect(part(page, "result")).to_be_hidden()


def test_a_clip_that_is_not_ultrasound_gets_a_warning(page: Page):
    clip = to_video(np.random.default_rng(0).integers(0, 255, (12, 120, 160), dtype=np.uint8))
    predict(page, clip)
    expect(part(page, "warning")).to_contain_text("does not look like lung ultrasound")


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
            part(page, "again").click()
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
    expect(page.get_by_role("alert")).to_have_text("Too many clips; try again in 2 s.")
    part(page, "again").click()
    page.wait_for_selector(PREDICTED, timeout=TIMEOUT_MS)
    expect(page.get_by_role("alert")).to_be_empty()

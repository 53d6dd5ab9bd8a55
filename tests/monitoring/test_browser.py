"""The page in a browser: the grid, details, keyboard, a phone, a stopped server."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.web_page import PageServer
from tests.monitoring.unfinished_runs import NOW, write_cell, write_mixed_run, write_status
from tests.serve.page.conftest import browser as browser

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path):
    return write_mixed_run(tmp_path)


@pytest.fixture
def server(out):
    with PageServer(RunReader(out, clock=lambda: NOW), host="127.0.0.1", port=0) as server:
        yield server


@pytest.fixture
def page(browser, server) -> Iterator[Page]:
    """The open page; any error in the browser fails the test."""
    with browser.new_context(viewport={"width": 1200, "height": 800}) as context:
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text))
        opened.goto(server.url)
        expect(opened.locator(".cell")).to_have_count(6)
        yield opened
        assert [text for text in errors if "Failed to load resource" not in text] == []


def card(page: Page, row: int, column: int):
    return page.locator(f".cell[data-row='{row}'][data-column='{column}']")


def test_every_cell_shows_its_state_in_words_and_marks(page):
    cards = [card(page, row, column) for row in range(3) for column in range(2)]
    assert [shown.get_attribute("aria-label") for shown in cards] == [
        "first, fold 0: finished, epoch 2 of 10, score 0.750",
        "first, fold 1: failed, epoch 0 of 10, the loss is nan",
        "second, fold 0: running, epoch 3 of 10, score 0.375",
        "second, fold 1: blocked, epoch 0 of 10",
        "<b>third</b>, fold 0: waiting",
        "<b>third</b>, fold 1: waiting",
    ]
    assert page.locator(".cell .mark").all_inner_texts() == list("✓✗▶⊘··")
    expect(page.locator("#total")).to_have_text("1 of 6 cells")
    expect(page.locator("#driver")).to_have_text("running on head")
    expect(page.locator("#dashboard")).to_have_attribute("href", "http://127.0.0.1:8265")
    arm = card(page, 2, 0).evaluate("e => e.closest('tr').cells[0].firstChild.data")
    assert arm == "<b>third</b>"


def test_the_grid_follows_the_folder(page, out):
    write_cell(out, "second", 0, scores=[0.25, 0.5, 0.375], finished=True, num_starts=2)
    write_status(out, outcome="failed", ended=NOW)
    (out / "report.html").write_text("<title>the report</title>")
    expect(page.locator("#total")).to_have_text("2 of 6 cells", timeout=8000)
    expect(card(page, 1, 0)).to_have_class("cell finished")
    expect(page.locator("#driver")).to_contain_text("ended with failed cells")
    page.locator("#report").click()
    expect(page).to_have_title("the report")


def test_a_cell_opens_its_details_and_escape_closes_them(page):
    card(page, 1, 0).click()
    details = page.locator("#details")
    expect(details.locator("h2")).to_have_text("second, fold 0")
    terms, values = (details.locator(tag).all_inner_texts() for tag in ("dt", "dd"))
    facts = dict(zip(terms, values, strict=True))
    assert facts["starts"].startswith("2 (")
    assert (facts["node"], facts["folder"]) == ("node-a", "cells/second/fold0")
    expect(details.locator("polyline")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    card(page, 0, 1).click()
    expect(details).to_contain_text("the loss is nan")


def test_arrows_move_within_the_grid(page):
    assert page.locator(".cell[tabindex='0']").count() == 1
    card(page, 0, 0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(card(page, 1, 1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#details h2")).to_have_text("second, fold 1")


def test_arms_are_filtered_by_state_and_name(page):
    page.locator("#only-failed").click()
    assert page.locator("tbody tr:visible th").all_inner_texts() == ["first\nseverity"]
    page.locator("#only-failed").click()
    page.locator("#filter").fill("SEC")
    assert page.locator("tbody tr:visible").count() == 1
    page.locator("#filter").fill("nothing like it")
    expect(page.locator("#none")).to_be_visible()


def test_a_phone_scrolls_in_one_direction(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(card(page, 0, 1)).to_be_visible()
    assert card(page, 0, 0).bounding_box()["x"] >= 0
    expect(card(page, 0, 1).locator(".fold")).to_have_text("fold 1")


def test_a_stopped_server_is_reported(page, server):
    server.close()
    expect(page.locator("#trouble")).to_contain_text("No answer from lus watch", timeout=40000)
    expect(page.locator(".cell")).to_have_count(6)

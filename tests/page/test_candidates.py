"""Several candidates in the browser: each is seen as it grows, then the best hangs on the wall."""

import re

from page_gateway import PageGateway
from playwright.sync_api import Browser, Page, expect

PROMPT = "mountains under a moon"


def ask(page: Page, n: int = 3, seed: int = 5) -> None:
    expect(page.locator("#estimate")).to_contain_text("patches")  # the server's limits are known
    page.fill("#prompt", PROMPT)
    page.locator('label.size:has(input[value="256x256"])').click()
    page.select_option("#n", str(n))
    page.fill("#seed", str(seed))
    page.click("#generate")
    expect(page.locator(".candidate")).to_have_count(n)


def has_status(page: Page, status: str) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-status", status)


def seeds(page: Page) -> list[str]:
    return page.locator(".candidate .sheet-facts").all_inner_texts()


def test_the_best_candidate_comes_to_the_wall_and_the_strip_is_ranked(page: Page, gateway: PageGateway) -> None:
    gateway.scores = {5: 0.41, 6: 0.93, 7: None}
    gateway.hold_after = 4
    ask(page)
    assert gateway.posted[0]["n"] == 3
    expect(page.locator("#candidates-title")).to_have_text("3 candidates")
    expect(page.locator("#estimate")).to_contain_text("3 × 16 patches")
    expect(page.locator(".candidate-words")).to_have_text(["4 of 16 patches"] * 3)
    expect(page.locator('.candidate [aria-current="true"] .sheet-facts')).to_have_text("seed 5")
    expect(page.locator("#running")).to_be_hidden()
    assert gateway.most_streams == 1, "only the one on the wall streams"
    gateway.hold_after = None
    expect(page.locator("#candidates-hint")).to_contain_text("Best first")
    expect(page.locator(".candidate-words")).to_have_text(["1. fits 93 %", "2. fits 41 %", "3. finished"])
    assert seeds(page) == ["seed 6", "seed 5", "seed 7"]
    expect(page.locator("#facts")).to_contain_text("seed 6")
    expect(page.locator("#facts")).to_contain_text("shows mountains · misses moon, looks like sun")
    expect(page.locator(".candidate img")).to_have_count(3)
    expect(page.locator("#history-list .sheet-item")).to_have_count(2)  # those that were looked at
    has_status(page, "succeeded")
    page.locator(".candidate button").nth(2).press("Enter")
    expect(page.locator("#facts")).to_contain_text("seed 7")
    expect(page.locator(".candidate button").nth(2)).to_be_focused()
    page.reload()
    expect(page.locator(".candidate-words")).to_have_text(["1. fits 93 %", "2. fits 41 %", "3. finished"])
    expect(page.locator('.candidate [aria-current="true"] .sheet-facts')).to_have_text("seed 7")
    page.click("#again-seed")
    expect(page.locator("#candidates")).to_be_hidden()
    assert "n" not in gateway.posted[1]


def test_films_have_candidates_and_the_best_one_is_played(page: Page, gateway: PageGateway) -> None:
    gateway.scores = {5: 0.41, 6: 0.93}
    page.fill("#prompt", PROMPT)
    page.locator('label.choice:has(input[value="film"])').click()
    page.fill("#frames", "2")
    ask(page, n=2)
    assert (gateway.posted[0]["n"], gateway.posted[0]["frames"]) == (2, 2)
    expect(page.locator(".candidate-words")).to_have_text(["1. fits 93 %", "2. fits 41 %"])
    expect(page.locator("#facts")).to_contain_text("seed 6")
    expect(page.locator("#film-bar")).to_be_visible()
    expect(page.locator("#download-mp4")).to_be_visible()


def test_a_candidate_that_was_picked_stays_on_the_wall(page: Page, gateway: PageGateway) -> None:
    gateway.scores = {5: 0.2, 6: 0.9}
    gateway.hold_after = 4
    ask(page, 2)
    page.locator(".candidate button").nth(1).click()
    expect(page.locator("#facts")).to_contain_text("seed 6")
    page.locator(".candidate button").nth(0).click()
    expect(page.locator("#facts")).to_contain_text("seed 5")
    gateway.hold_after = None
    expect(page.locator("#candidates-hint")).to_contain_text("Best first")
    page.wait_for_timeout(300)
    expect(page.locator("#facts")).to_contain_text("seed 5")


def test_candidates_without_scores_stay_in_the_order_of_their_seeds(page: Page) -> None:
    ask(page, 2)
    expect(page.locator("#candidates-hint")).to_contain_text("In the order of their seeds")
    expect(page.locator(".candidate-words")).to_have_text(["finished", "finished"])
    assert seeds(page) == ["seed 5", "seed 6"]


def test_all_are_canceled_at_once(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 4
    ask(page)
    page.click("#candidates-cancel")
    has_status(page, "canceled")
    expect(page.locator(".candidate-words")).to_have_text(["stopped"] * 3)
    expect(page.locator("#candidates-cancel")).to_be_hidden()
    assert {job.status for job in gateway.jobs.values()} == {"canceled"}


def test_a_link_to_a_candidate_shows_the_others_and_fits_a_phone(
    page: Page, gateway: PageGateway, browser: Browser
) -> None:
    ask(page, 6)
    has_status(page, "succeeded")
    with browser.new_context(viewport={"width": 360, "height": 740}, reduced_motion="reduce") as elsewhere:
        other = elsewhere.new_page()
        other.goto(page.url)
        expect(other.locator(".candidate img")).to_have_count(6)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert other.evaluate(overflow) <= 0
        other.locator(".candidate button").nth(5).click()
        expect(other.locator("#facts")).to_contain_text("seed 10")
        expect(other).to_have_url(re.compile("-5$"))

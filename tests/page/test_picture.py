"""One picture in the browser: it grows patch by patch, survives cuts, can be stopped, looked at and taken home."""

import base64
import io
import re

import numpy as np
from page_gateway import PageGateway
from page_jobs import PATCH_PX, paint_landscape
from page_worker import SKETCH_COLOUR
from PIL import Image
from playwright.sync_api import Browser, Page, expect

PROMPT = "snowy mountains at sunset with a lake"


def ask(page: Page, prompt: str = PROMPT, size: str = "512x256", seed: int = 5) -> None:
    page.fill("#prompt", prompt)
    page.locator(f'label.size:has(input[value="{size}"])').click()
    page.fill("#seed", str(seed))
    page.click("#generate")


def has_status(page: Page, status: str) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-status", status)


def has_done(page: Page, done: int) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-done", str(done))


def pixels(page: Page) -> np.ndarray:
    shown = page.locator("#canvas").evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))))


def test_the_whole_frame_is_laid_out_and_fills_patch_by_patch(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 12
    ask(page)
    has_done(page, 12)
    canvas = page.locator("#canvas")
    expect(canvas).to_have_attribute("data-total", "32")
    expect(canvas).to_have_attribute("data-status", "running")
    expect(page.locator("#progress-text")).to_contain_text("12 of 32 patches")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "12")
    page.wait_for_timeout(600)  # longer than a patch takes to fade in
    opaque = pixels(page)[..., 3]
    assert opaque.shape == (256, 512)
    middles = opaque[PATCH_PX // 2 :: PATCH_PX, PATCH_PX // 2 :: PATCH_PX]
    assert (middles == 255).sum() == 12
    assert (middles == 0).sum() == 20


def test_a_sketch_is_seen_where_patches_are_still_to_come_and_nowhere_else(page: Page, gateway: PageGateway) -> None:
    gateway.sketches, gateway.hold_after = True, 0
    ask(page, seed=9)
    expect(page.locator("#canvas")).to_have_attribute("data-sketched", "true")
    assert (pixels(page)[..., :3] == SKETCH_COLOUR).all()
    gateway.hold_after = 12
    has_done(page, 12)
    page.wait_for_timeout(600)  # longer than a patch takes to fade in
    middles = pixels(page)[PATCH_PX // 2 :: PATCH_PX, PATCH_PX // 2 :: PATCH_PX, :3]
    assert (middles == SKETCH_COLOUR).all(-1).sum() == 20
    gateway.hold_after = None
    has_status(page, "succeeded")
    assert np.array_equal(pixels(page)[..., :3], np.asarray(paint_landscape(512, 256, 9)))


def test_the_finished_canvas_shows_exactly_the_refined_patches(page: Page) -> None:
    ask(page, seed=9)
    has_status(page, "succeeded")
    expect(page.locator("#canvas")).to_have_attribute("data-done", "32")
    assert np.array_equal(pixels(page)[..., :3], np.asarray(paint_landscape(512, 256, 9)))


def test_a_picture_whose_size_is_no_multiple_of_a_patch_is_exact_too(page: Page) -> None:
    page.locator('label.size:has(input[value="custom"])').click()
    page.fill("#width", "300")
    page.fill("#height", "130")
    expect(page.locator("#estimate")).to_contain_text("15 patches")
    page.fill("#seed", "3")
    page.click("#generate")
    has_status(page, "succeeded")
    assert np.array_equal(pixels(page)[..., :3], np.asarray(paint_landscape(300, 130, 3)))


def test_seed_and_settings_used_are_shown_beside_the_picture(page: Page) -> None:
    ask(page, seed=77)
    has_status(page, "succeeded")
    expect(page.locator("#title")).to_have_text(PROMPT)
    for fact in ("512 × 256", "seed 77", "top to bottom", "temperature 1", "top-p 0.98", "guidance 4"):
        expect(page.locator("#facts")).to_contain_text(fact)


def test_time_left_is_said_only_after_a_few_patches(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 3
    ask(page)
    has_done(page, 3)
    page.wait_for_timeout(2500)
    expect(page.locator("#progress-text")).to_have_text("3 of 32 patches")
    gateway.hold_after = 8
    has_done(page, 8)
    expect(page.locator("#progress-text")).to_contain_text(re.compile("8 of 32 patches · about .+ left"))


def test_a_waiting_picture_says_how_many_are_ahead_and_then_starts(page: Page, gateway: PageGateway) -> None:
    gateway.ahead = 3
    ask(page)
    expect(page.locator("#progress-text")).to_have_text("3 pictures ahead of this one")
    has_status(page, "queued")
    gateway.ahead = 1
    expect(page.locator("#progress-text")).to_have_text("1 picture ahead of this one")
    gateway.ahead = 0
    has_status(page, "succeeded")


def test_cancel_stops_the_picture_and_keeps_the_patches_that_exist(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 10
    ask(page)
    has_done(page, 10)
    page.click("#cancel")
    has_status(page, "canceled")
    expect(page.locator("#progress-text")).to_have_text("Stopped after 10 of 32 patches")
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#canvas")).to_have_attribute("data-done", "10")
    expect(page.locator("#again-same")).to_be_visible()


def test_a_failed_picture_says_why_and_offers_to_make_it_again(page: Page, gateway: PageGateway) -> None:
    ask(page, "an impossible castle", seed=4)
    has_status(page, "failed")
    expect(page.locator("#wall-note")).to_have_text("The model gave up on this picture.")
    page.click("#again-same")
    expect(page).to_have_url(re.compile("#job=job-2$"))
    assert gateway.posted[1]["seed"] == 4


def test_a_reload_goes_on_with_the_same_picture(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 10
    ask(page)
    has_done(page, 10)
    page.reload()
    has_done(page, 10)
    gateway.hold_after = None
    has_status(page, "succeeded")
    assert len(gateway.posted) == 1


def test_another_browser_opens_the_picture_by_its_address(page: Page, gateway: PageGateway, browser: Browser) -> None:
    ask(page)
    has_status(page, "succeeded")
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(page.url)
        has_status(other, "succeeded")
        expect(other.locator("#title")).to_have_text(PROMPT)
        assert np.array_equal(pixels(other)[..., :3], np.asarray(paint_landscape(512, 256, 5)))


def test_streams_cut_again_and_again_lose_no_patch(page: Page, gateway: PageGateway) -> None:
    gateway.cut_after, gateway.hold_after = 7, 1  # not done before the page has asked for its stream
    ask(page)
    has_done(page, 1)
    gateway.hold_after = None
    has_status(page, "succeeded")
    assert gateway.streams_opened > 5
    assert np.array_equal(pixels(page)[..., :3], np.asarray(paint_landscape(512, 256, 5)))


def test_a_lost_stream_is_said_and_taken_up_again_after_refusals(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = 6
    ask(page)
    has_done(page, 6)
    gateway.refuse_streams = True  # 503 ends an EventSource for good: the page must open a new one
    expect(page.locator("#progress-text")).to_have_text("Connection lost, reconnecting")
    gateway.hold_after = None
    gateway.refuse_streams = False
    has_status(page, "succeeded")
    assert np.array_equal(pixels(page)[..., :3], np.asarray(paint_landscape(512, 256, 5)))


def test_a_finished_picture_keeps_no_stream_open(page: Page, gateway: PageGateway) -> None:
    ask(page)
    has_status(page, "succeeded")
    page.wait_for_timeout(500)  # longer than the browser waits before it would reconnect
    assert gateway.open_streams == 0
    assert gateway.streams_opened == 1


def test_download_saves_the_picture_in_each_format(page: Page) -> None:
    ask(page, seed=6)
    has_status(page, "succeeded")
    for format_name in ("png", "webp", "jpeg"):
        with page.expect_download() as download:
            page.click(f"#download-{format_name}")
        with Image.open(download.value.path()) as picture:
            assert picture.size == (512, 256)
            assert picture.format == format_name.upper()


def test_again_with_another_seed_keeps_everything_but_the_seed(page: Page, gateway: PageGateway) -> None:
    ask(page, size="256x256", seed=8)
    has_status(page, "succeeded")
    page.click("#again-seed")
    expect(page).to_have_url(re.compile("#job=job-2$"))
    has_status(page, "succeeded")
    first, second = gateway.posted
    assert "seed" not in second
    assert {name: second[name] for name in ("prompt", "width", "height")} == {
        name: first[name] for name in ("prompt", "width", "height")
    }


def test_a_scroll_at_full_size_follows_its_front_until_the_person_scrolls(page: Page, gateway: PageGateway) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    gateway.hold_after = 60
    ask(page, size="1536x256")
    has_done(page, 60)
    expect(page.locator("#view-full")).to_have_attribute("aria-pressed", "true")
    frame = page.locator("#frame")
    page.wait_for_timeout(1200)
    followed = frame.evaluate("frame => frame.scrollLeft")
    assert followed > 300
    frame.hover()
    page.mouse.wheel(-2000, 0)
    expect(page.locator("#view-follow")).to_be_visible()
    gateway.hold_after = 90
    has_done(page, 90)
    page.wait_for_timeout(600)
    assert frame.evaluate("frame => frame.scrollLeft") == 0
    page.click("#view-follow")
    page.wait_for_timeout(1200)
    assert frame.evaluate("frame => frame.scrollLeft") > followed
    page.click("#view-fit")
    assert frame.evaluate("frame => frame.scrollWidth - frame.clientWidth") <= 1


def test_patches_appear_at_once_for_those_who_want_no_motion(page: Page, gateway: PageGateway) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("""() => {
        window.half = 0;
        const draw = CanvasRenderingContext2D.prototype.drawImage;
        CanvasRenderingContext2D.prototype.drawImage = function (...values) {
            if (this.globalAlpha < 1) window.half += 1;
            return draw.apply(this, values);
        };
    }""")
    ask(page)
    has_status(page, "succeeded")
    assert page.evaluate("window.half") == 0
    page.emulate_media(reduced_motion="no-preference")
    ask(page, seed=6)
    expect(page).to_have_url(re.compile("#job=job-2$"))
    has_status(page, "succeeded")
    assert page.evaluate("window.half") > 0

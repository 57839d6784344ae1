"""Films and candidates as a person meets them: `nuwa serve` with the tile engine, a real Redis, a browser."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

FRAMES = 10
FILM_S = 90

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def url(serve: Callable[..., str]) -> str:
    return serve("--engine", "tile")


@pytest.fixture(scope="module")
def page(url: str, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(url)
    yield page
    page.close()
    assert complaints == []


def finishes(page: Page) -> None:
    ended_somehow = re.compile("succeeded|failed|canceled")
    expect(page.locator("#canvas")).to_have_attribute("data-status", ended_somehow, timeout=FILM_S * 1000)
    expect(page.locator("#canvas")).to_have_attribute("data-status", "succeeded")


def film_of(page: Page) -> list[NDArray[np.uint8]]:
    """The frames of the film that the page offers to download."""
    with page.expect_download() as download:
        page.click("#download-mp4")
    with av.open(download.value.path()) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def test_a_film_plays_before_it_is_finished_and_can_be_taken_home(page: Page, artifacts: Path) -> None:
    page.get_by_role("radio", name="A film").check()
    page.fill("#prompt", "dunes at dawn, panning right")
    page.locator('label.size:has(input[value="512x256"])').click()
    page.fill("#frames", str(FRAMES))
    expect(page.locator("#estimate")).to_contain_text(f"{FRAMES} frames · {FRAMES * 32} patches")
    page.click("#generate")
    bar = page.locator("#film-bar")
    expect(bar).to_have_attribute("data-playing", "true", timeout=FILM_S * 1000)
    made = int(bar.get_attribute("data-length") or 0)
    assert 0 < made < FRAMES
    expect(bar).to_have_attribute("data-screen", "StreamScreen")
    expect(page.locator("#film-video")).to_be_visible()
    page.screenshot(path=artifacts / "film-growing.png")
    finishes(page)
    expect(bar).to_have_attribute("data-length", str(FRAMES))
    expect(page.locator("#progress-text")).to_have_text(f"{FRAMES} frames")
    expect(page.locator("#film-note")).to_be_hidden()
    page.screenshot(path=artifacts / "film.png")
    frames = film_of(page)
    assert len(frames) == FRAMES
    assert frames[0].shape == (256, 512, 3)


def test_another_browser_plays_the_finished_film_from_its_address(page: Page, browser: Browser) -> None:
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(page.url)
        expect(other.locator("#film-bar")).to_have_attribute("data-screen", "FileScreen")
        expect(other.locator("#film-bar")).to_have_attribute("data-playing", "true")
        expect(other.locator("#facts")).to_contain_text("film of 1.3 s, 8 frames a second")


def test_a_picture_of_ones_own_is_the_first_frame_of_its_film(page: Page, url: str) -> None:
    own = np.random.default_rng(3).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(own).save(file, "PNG")
    page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.click("#tool-animate")
    page.fill("#prompt", "")
    page.fill("#frames", "4")
    expect(page.locator("#estimate")).to_contain_text("4 frames · 18 patches")
    page.click("#generate")
    expect(page.locator("#easel")).to_be_hidden()
    finishes(page)
    expect(page.locator("#film-bar")).to_have_attribute("data-length", "4")
    job = page.url.partition("#job=")[2]
    first = httpx.get(f"{url}/jobs/{job}/frames/0").content
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first))), own)
    assert len(film_of(page)) == 4
    page.reload()
    page.click("#reuse")
    expect(page.locator("#easel-picture")).to_be_visible()
    shown = page.locator("#easel-picture").evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")), own)
    page.click("#picture-remove")


def test_candidates_are_seen_side_by_side(page: Page, artifacts: Path) -> None:
    page.get_by_role("radio", name="A picture").check()
    page.locator('label.size:has(input[value="256x256"])').click()
    page.fill("#prompt", "a lake among firs")
    page.fill("#seed", "7")
    page.select_option("#n", "3")
    page.click("#generate")
    expect(page.locator(".candidate")).to_have_count(3)
    finishes(page)
    expect(page.locator(".candidate img")).to_have_count(3, timeout=FILM_S * 1000)
    # The tile engine reads no pictures, so nothing is ranked.
    expect(page.locator(".candidate .sheet-facts")).to_have_text(["seed 7", "seed 8", "seed 9"])
    expect(page.locator("#candidates-hint")).to_contain_text("In the order of their seeds")
    page.screenshot(path=artifacts / "candidates.png")

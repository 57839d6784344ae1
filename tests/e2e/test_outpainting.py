"""A picture of one's own, extended as a person does it: `nuwa serve` with the tile engine, a real Redis, a browser."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

GIVEN = (200, 136)  # pixels: no whole number of patches of 64
PICTURE_S = 60

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(180)]


def photograph() -> NDArray[np.uint8]:
    """Noise that stands upright: any pixel that is lost, moved or made anew is seen."""
    return np.random.default_rng(3).integers(0, 256, (GIVEN[1], GIVEN[0], 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def page(serve: Callable[..., str], browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(serve("--engine", "tile"))
    yield page
    page.close()
    assert complaints == []


def shown(page: Page, canvas: str = "#canvas") -> NDArray[np.uint8]:
    data = page.locator(canvas).evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def finish(page: Page) -> None:
    page.click("#generate")
    expect(page.locator("#easel")).to_be_hidden()
    ended_somehow = re.compile("succeeded|failed|canceled")
    expect(page.locator("#canvas")).to_have_attribute("data-status", ended_somehow, timeout=PICTURE_S * 1000)
    expect(page.locator("#canvas")).to_have_attribute("data-status", "succeeded")


@pytest.fixture(scope="module")
def grown(page: Page, artifacts: Path) -> NDArray[np.uint8]:
    """The photograph, pulled larger on three sides and finished, as the page shows it."""
    file = io.BytesIO()
    Image.fromarray(photograph()).save(file, "PNG")
    page.set_input_files("#file", {"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()})
    expect(page.locator("#easel")).to_be_visible()
    page.get_by_role("slider", name="Extend at the right").press("Home")
    page.get_by_role("slider", name="Extend at the left").press("ArrowLeft")
    for _ in range(2):
        page.get_by_role("slider", name="Extend at the top").press("ArrowUp")
    page.fill("#extend-bottom", "30")
    expect(page.locator("#facts")).to_contain_text("finished 264 × 294")
    expect(page.locator("#estimate")).to_contain_text("patches")
    page.screenshot(path=artifacts / "outpainting-easel.png")

    finish(page)
    page.screenshot(path=artifacts / "outpainting.png")
    return shown(page)


def test_a_picture_grows_at_the_edge_that_is_pulled_and_keeps_every_pixel(page: Page, grown: NDArray[np.uint8]) -> None:
    assert grown.shape == (294, 264, 4)
    assert (grown[..., 3] == 255).all()
    assert np.array_equal(grown[128 : 128 + GIVEN[1], 64:, :3], photograph())
    drawn = grown[:128, :, :3]
    assert drawn.std() > 5, "the strip above is painted, not left blank"

    with page.expect_download() as download:
        page.click("#download-png")
    with Image.open(download.value.path()) as result:
        assert np.array_equal(np.asarray(result.convert("RGB")), grown[..., :3])


@pytest.mark.usefixtures("grown")
def test_a_part_of_the_result_is_painted_anew_and_nothing_else_changes(page: Page) -> None:
    before = shown(page)[..., :3]
    page.click("#repaint-result")
    expect(page.locator("#easel-area")).to_be_visible()
    for name, px in {"width": 90, "height": 70, "left": 100, "top": 20}.items():
        page.fill(f"#repaint-{name}", str(px))
    page.fill("#seed", "12345")
    finish(page)
    changed = (shown(page)[..., :3] != before).any(axis=2)
    assert changed[20:90, 100:190].mean() > 0.5
    changed[20:90, 100:190] = False
    assert not changed.any()


@pytest.mark.usefixtures("grown")
def test_a_reload_finds_the_same_picture_and_can_go_on_from_it(page: Page) -> None:
    before = shown(page)
    page.reload()
    expect(page.locator("#canvas")).to_have_attribute("data-status", "succeeded")
    assert np.array_equal(shown(page), before)
    page.click("#extend-result")
    expect(page.locator("#easel-picture")).to_be_visible()
    assert np.array_equal(shown(page, "#easel-picture"), before)

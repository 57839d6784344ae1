"""A film of one's own in the browser: its last frame is on the easel, the next film begins there, the file is sent."""

import io
from pathlib import Path

import numpy as np
import pytest
from page_gateway import PageGateway
from PIL import Image
from playwright.sync_api import Page, expect

from workers.video import FilmWriter

WIDTH, HEIGHT = 192, 128
GREEN, BLUE = (40, 160, 60), (30, 60, 200)


def plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), colour)


def animated(kind: str) -> bytes:
    """Green, and blue at its end."""
    out = io.BytesIO()
    plain(GREEN).save(out, kind, save_all=True, append_images=[plain(BLUE)], duration=200)
    return out.getvalue()


def webm(folder: Path) -> bytes:
    writer = FilmWriter(folder / "film", WIDTH, HEIGHT, 5, "webm")
    for colour in (GREEN, GREEN, BLUE):
        writer.add(np.asarray(plain(colour)))
    writer.close()
    return (folder / "film").read_bytes()


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.webm", "video/webm"), ("a.gif", "image/gif"), ("a.webp", "image/webp")]
)
def test_a_film_of_ones_own_is_gone_on_with(
    page: Page, gateway: PageGateway, tmp_path: Path, name: str, media_type: str
) -> None:
    data = webm(tmp_path) if name == "a.webm" else animated(media_type.removeprefix("image/").upper())
    page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": data})
    expect(page.locator("#tool-animate")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("radio", name="A film")).to_be_checked()
    shown = page.locator("#easel-picture").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data]"
    )
    assert np.abs(np.array(shown[:3]) - BLUE).max() < 16, "the last frame"
    page.fill("#frames", "2")
    page.click("#generate")
    expect(page.locator("#canvas")).to_have_attribute("data-status", "succeeded")
    assert gateway.files == [data], "the film itself, not what the browser makes of it"
    assert gateway.posted[0]["task"] == "image_animation"
    begun = np.asarray(gateway.jobs["job-1"].frame(0))
    assert np.abs(begun.astype(int) - BLUE).max() < 16


def test_a_film_cannot_be_extended_and_the_page_says_so(page: Page, gateway: PageGateway) -> None:
    page.set_input_files("#file", {"name": "a.gif", "mimeType": "image/gif", "buffer": animated("GIF")})
    expect(page.locator("#tool-animate")).to_have_attribute("aria-pressed", "true")
    page.click("#tool-extend")
    expect(page.locator("#image-error")).to_contain_text("must be a still picture")
    page.click("#tool-animate")
    expect(page.locator("#image-error")).to_be_hidden()
    assert gateway.posted == []

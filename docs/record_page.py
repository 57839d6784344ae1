"""Films a picture and the page while they are drawn, for the README: python -m docs.record_page

Starts `nuwa serve` with the shipped weights. docs/images/first-light.webp is what the event stream brings, patch by
patch, as fast as it came. For docs/images/page.webp it types the same prompt in a real Chromium and keeps one
screenshot a tick until the picture is done.
"""

import base64
import io
import json
import time
from itertools import pairwise
from pathlib import Path

import httpx
import imageio.v3 as iio
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from docs.shipped_server import shipped_server

PROMPT, SEED, SIZE = "alpine mountains on a bright morning with firs and a lake", 1, (512, 256)
WINDOW = {"width": 1200, "height": 820}
SHOWN_WIDTH = 800  # px of the film
TICK_MS, LAST_MS = 250, 3000
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main() -> None:
    with shipped_server() as address:
        save("first-light.webp", *streamed(address), quality=85)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*CHROMIUM])
            frames = record(browser.new_page(viewport=WINDOW), address)
            browser.close()
        save("page.webp", frames, [TICK_MS] * len(frames), quality=70)


def save(name: str, frames: list[Image.Image], shown_ms: list[int], quality: int) -> None:
    """An animated WebP in docs/images; its last frame stays for a while."""
    out = Path(__file__).parent / "images" / name
    times = [*shown_ms[:-1], LAST_MS]
    iio.imwrite(out, [np.asarray(frame) for frame in frames], plugin="pillow", duration=times, loop=0, quality=quality)
    print(f"{out}: {len(frames)} frames, {out.stat().st_size / 1e6:.2f} MB")


def streamed(address: str) -> tuple[list[Image.Image], list[int]]:
    """The canvas after each event of a picture's stream, its sketch first, and how many milliseconds it stood so."""
    canvas = Image.new("RGB", SIZE, "white")
    frames, times = [canvas.copy()], [time.monotonic()]
    request = {"prompt": PROMPT, "seed": SEED, "width": SIZE[0], "height": SIZE[1]}
    headers = {"Accept": "text/event-stream"}
    with httpx.stream("POST", f"{address}/generate", json=request, headers=headers, timeout=90) as answer:
        for line in answer.iter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("sketch"):
                canvas.paste(_image(event["sketch"]).resize(SIZE, Image.Resampling.BICUBIC))
            elif "image" in event:
                canvas.paste(_image(event["image"]), tuple(event["box"][:2]))
            else:
                continue
            frames.append(canvas.copy())
            times.append(time.monotonic())
    shown_ms = [max(1, round(1000 * (end - start))) for start, end in pairwise(times)]
    return frames, [*shown_ms, LAST_MS]


def _image(address: str) -> Image.Image:
    """Of a data: address."""
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def record(page: Page, address: str) -> list[Image.Image]:
    """One screenshot a tick, from the prompt being typed to the picture being done."""
    page.goto(address)
    page.wait_for_selector("#generate:enabled")
    page.locator("#seed").fill(str(SEED))
    frames = []
    for end in range(0, len(PROMPT) + 1, 6):
        page.locator("#prompt").fill(PROMPT[:end] if end + 6 <= len(PROMPT) else PROMPT)
        frames.append(_seen(page))
    page.locator("#generate").click()
    while not page.locator("#download-png").is_visible() or len(frames) < 12:
        frames.append(_seen(page))
        page.wait_for_timeout(TICK_MS)
    page.wait_for_timeout(1000)
    return [*frames, _seen(page)]


def _seen(page: Page) -> Image.Image:
    image = Image.open(io.BytesIO(page.screenshot()))
    return image.convert("RGB").resize((SHOWN_WIDTH, SHOWN_WIDTH * image.height // image.width))


if __name__ == "__main__":
    main()

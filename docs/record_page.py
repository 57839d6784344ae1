"""Films the page while it draws, for the README: python docs/record_page.py

Starts `nuwa serve` with the shipped weights, types a prompt in a real Chromium, and keeps one screenshot a tick until
the picture is done: docs/images/page.webp.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROMPT, SEED = "alpine mountains on a bright morning with firs and a lake", 1
WINDOW = {"width": 1200, "height": 820}
SHOWN_WIDTH = 800  # px of the film
TICK_MS, LAST_MS = 250, 3000
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main() -> None:
    out = Path(__file__).parent / "images" / "page.webp"
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "cli.main", "serve", "--no-open", "--port", "0", "--data", data]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*CHROMIUM])
                frames = record(browser.new_page(viewport=WINDOW), _address(server))
                browser.close()
        finally:
            server.terminate()
            server.wait()
    times = [TICK_MS] * (len(frames) - 1) + [LAST_MS]
    iio.imwrite(out, [np.asarray(frame) for frame in frames], plugin="pillow", duration=times, loop=0, quality=70)
    print(f"{out}: {len(frames)} frames, {out.stat().st_size / 1e6:.2f} MB")


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


def _address(server: subprocess.Popen[str]) -> str:
    """What the server says when it is ready. Raises RuntimeError when it ends before."""
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"Ready: (\S+)", line):
            return found[1]
    raise RuntimeError("the server ended before it was ready")


if __name__ == "__main__":
    main()

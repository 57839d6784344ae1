"""The page in a real browser, served by a gateway that the tests hold on strings."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from page_gateway import PageGateway
from playwright.sync_api import Browser, Page, expect

PATIENCE_MS = 20_000  # machines that run tests are busy; nothing here waits longer than it must
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def gateway() -> Iterator[PageGateway]:
    with PageGateway() as gateway:
        yield gateway


@pytest.fixture
def page(browser: Browser, gateway: PageGateway) -> Iterator[Page]:
    """The page, open; a script error, a broken content policy or a request elsewhere fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    page.on(
        "request",
        lambda sent: (
            None
            if sent.url.startswith((gateway.url, "data:", f"blob:{gateway.url}"))
            else faults.append(f"fetched {sent.url}")
        ),
    )
    page.goto(gateway.url)
    yield page
    context.close()
    assert faults == []

"""Headers that say what a caller prefers."""

import pytest

from server.negotiation import preferred, wait_seconds

IMAGES = ("image/png", "image/webp", "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("IMAGE/WEBP ; Q=0.5", "image/webp"),
        ("image/webp;q=0.4, image/jpeg;q=0.6", "image/jpeg"),
        ("image/webp, */*", "image/webp"),
        ("image/webp;q=0, */*", "image/png"),
        ("image/png;q=0, image/*;q=0.1", "image/webp"),
        ("image/webp;q=high", "image/webp"),
        (";;,,;q=,=", "image/png"),
    ],
)
def test_accept_chooses_a_format(accept: str, chosen: str) -> None:
    assert preferred(accept, IMAGES) == chosen


def test_clients_that_name_json_first_get_json_and_those_that_name_streams_get_streams() -> None:
    offers = ("application/json", "text/event-stream")
    assert preferred("application/json, text/event-stream", offers) == "application/json"
    assert preferred("text/event-stream, */*;q=0.1", offers) == "text/event-stream"
    assert preferred("text/html, */*", offers) == "application/json"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, wait=60", 60),
        ('Wait = "7"; x=y', 7),
        ("wait=61", 60),
        ("wait=0", None),
        ("", None),
    ],
)
def test_prefer_wait(prefer: str, seconds: int | None) -> None:
    assert wait_seconds(prefer) == seconds

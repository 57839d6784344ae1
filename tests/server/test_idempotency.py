"""Idempotency-Key: the same request again is the same job or group; another one is refused."""

import asyncio
import io
from typing import Any

import pytest
from PIL import Image

from server.routes import generate as routes

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "9b1d-77"}


async def post(gateway: Any, headers: dict[str, str] = KEY, **body: Any) -> Any:
    return await gateway.client.post(
        "/generate", json={"prompt": "a lake", "width": 64, "height": 16, **body}, headers=headers
    )


async def test_the_same_request_again_is_the_same_job_whatever_has_become_of_it(gateway: Any) -> None:
    first = await post(gateway)
    assert (first.status_code, "idempotency-replayed" in first.headers) == (202, False)
    again = await post(gateway)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    await gateway.worker.draw()
    finished = await post(gateway)
    assert (finished.json()["id"], finished.json()["status"]) == (first.json()["id"], "succeeded")
    stream = await post(gateway, {**KEY, "Accept": "text/event-stream"})
    assert gateway.parse_events(stream.text)[-1]["event"] == "job.finished"
    assert stream.headers["idempotency-replayed"] == "true"
    assert await gateway.broker.depth() == 0


async def test_the_order_of_fields_does_not_matter(gateway: Any) -> None:
    first, again = [
        await gateway.client.post("/generate", content=body, headers={**KEY, "Content-Type": "application/json"})
        for body in (
            '{"width": 64, "sampling": {"top_k": 3, "top_p": 1}}',
            '{"sampling": {"top_p": 1.0, "top_k": 3}, "width": 64}',
        )
    ]
    assert first.json()["id"] == again.json()["id"]


async def test_one_key_covers_a_group(gateway: Any) -> None:
    first, again = await post(gateway, n=3), await post(gateway, n=3)
    assert again.json() == first.json()
    assert again.headers["location"] == f"/groups/{first.json()['id']}"
    assert again.headers["idempotency-replayed"] == "true"
    assert await gateway.broker.depth() == 3


@pytest.mark.parametrize(("before", "after"), [({}, {"seed": 1}), ({}, {"n": 2}), ({"n": 2}, {}), ({"n": 2}, {"n": 3})])
async def test_another_request_with_the_key_is_refused(gateway: Any, before: Any, after: Any) -> None:
    await post(gateway, **before)
    depth = await gateway.broker.depth()
    answer = await post(gateway, **after)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await gateway.broker.depth() == depth


async def test_requests_at_once_with_one_key_are_one_job(gateway: Any) -> None:
    answers = await asyncio.gather(*(post(gateway) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == len({answer.json()["seed"] for answer in answers}) == 1
    assert await gateway.broker.depth() == 1


@pytest.mark.parametrize(("one", "other"), [({}, {"seed": 1}), ({"n": 3}, {"n": 2}), ({"n": 2}, {}), ({}, {"n": 2})])
async def test_of_different_requests_at_once_with_one_key_one_is_accepted_whole(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, one: Any, other: Any
) -> None:
    """Both find the key free before either is put into the queue."""
    both, made_before = asyncio.Barrier(2), routes.made_before

    async def ask_together(*asked: Any) -> Any:
        found = await made_before(*asked)
        await both.wait()
        return found

    monkeypatch.setattr(routes, "made_before", ask_together)
    answers = await asyncio.gather(post(gateway, **one), post(gateway, **other))
    assert sorted(answer.status_code for answer in answers) == [202, 422]
    [won] = [answer.json() for answer in answers if answer.status_code == 202]
    [lost] = [answer.json() for answer in answers if answer.status_code == 422]
    assert lost["code"] == "idempotency_key_reused"
    assert await gateway.broker.depth() == won.get("n", 1)


async def test_a_refused_request_does_not_use_the_key_up(gateway: Any) -> None:
    assert (await post(gateway, width=0)).status_code == 422
    assert (await post(gateway, width=10**6)).status_code == 422
    assert (await post(gateway)).status_code == 202


async def test_other_keys_and_no_key_are_other_jobs(gateway: Any) -> None:
    answers = [await post(gateway, headers) for headers in (KEY, {"Idempotency-Key": "other"}, {}, {})]
    assert len({answer.json()["id"] for answer in answers}) == 4
    assert all("idempotency-replayed" not in answer.headers for answer in answers)


async def test_a_picture_is_part_of_the_request(gateway: Any) -> None:
    def png(shade: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (shade, 0, 0)).save(out, "PNG")
        return out.getvalue()

    answers = [
        await gateway.client.post(
            "/generate",
            files={"image": ("a.png", png(shade), "image/png"), "request": (None, '{"extend": {"right": 8}}')},
            headers=KEY,
        )
        for shade in (1, 1, 2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422]


@pytest.mark.parametrize("key", ["a b", "é", "k" * 256, "a\tb"])
async def test_what_is_no_key_is_refused(gateway: Any, key: str) -> None:
    answer = await post(gateway, {"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 422
    assert "1 to 255 visible ASCII characters" in answer.json()["detail"]

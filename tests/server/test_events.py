"""GET /jobs/{id}/events: every event once and in order, whatever happens to viewers, network and Redis."""

import asyncio
import base64
import contextlib
import random
import time
from typing import Any

import pytest

from server import feeds as feeds_module
from server.feeds import Feeds
from server.sse import Pixels

pytestmark = pytest.mark.anyio


async def test_a_finished_job_streams_its_whole_history_and_closes(gateway: Any) -> None:
    job = await gateway.finished()
    answer = await gateway.client.get(job["links"]["events"])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith("retry: 2000\n\n")
    events = gateway.parse_events(answer.text)
    kinds = [event["event"] for event in events]
    assert kinds == ["job.queued", "job.started", *["patch", "patch.refined"] * 4, "job.finished"]
    assert [event["data"]["kind"] for event in events] == kinds
    assert len({event["id"] for event in events}) == len(events)
    assert not any("error" in event["data"] for event in events)  # client libraries would stop there


async def test_patches_carry_their_own_pixels(gateway: Any) -> None:
    job = await gateway.finished()
    patches = [event["data"] for event in await gateway.events(job) if event["event"].startswith("patch")]
    expected = await gateway.broker.images(job["id"], [(n // 2, n % 2 == 1) for n in range(8)])
    for patch, image in zip(patches, expected, strict=True):
        assert patch["image"] == "data:image/webp;base64," + base64.b64encode(image).decode()
        assert "url" not in patch


async def test_patches_by_url_lead_to_exactly_their_version(gateway: Any) -> None:
    job = await gateway.finished()
    events = await gateway.events(job, params={"pixels": "url"})
    patches = [event["data"] for event in events if event["event"].startswith("patch")]
    expected = await gateway.broker.images(job["id"], [(n // 2, n % 2 == 1) for n in range(8)])
    for patch, image in zip(patches, expected, strict=True):
        assert patch["url"] == f"/jobs/{job['id']}/patches/{patch['index']}.webp?v={patch['sha256'][:16]}"
        assert "image" not in patch
        answer = await gateway.client.get(patch["url"])
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, image, "image/webp")
        assert "immutable" in answer.headers["cache-control"]


async def test_a_patch_without_version_is_the_refined_one_and_may_change(gateway: Any) -> None:
    job = await gateway.generate()
    lease, taken = await gateway.worker.take()
    await gateway.worker.patch(lease, 0, 4)
    path = f"/jobs/{job['id']}/patches/0.webp"
    first = await gateway.client.get(path)
    await gateway.worker.patch(lease, 0, 4, refined=True)
    second = await gateway.client.get(path)
    assert first.content != second.content
    assert "immutable" not in first.headers["cache-control"]
    assert [first.content, second.content] == await gateway.broker.images(taken.id, [(0, False), (0, True)])


@pytest.mark.parametrize("way", ["header", "query", "both"])
async def test_a_cursor_goes_on_after_its_event_and_the_header_wins(gateway: Any, way: str) -> None:
    job = await gateway.finished()
    everything = await gateway.events(job)
    cursor = everything[4]["id"]
    headers = {} if way == "query" else {"Last-Event-ID": cursor}
    params = {} if way == "header" else {"last_event_id": cursor if way == "query" else everything[7]["id"]}
    assert await gateway.events(job, headers=headers, params=params) == everything[5:]


async def test_after_the_terminal_event_there_is_204(gateway: Any) -> None:
    job = await gateway.finished()
    last = (await gateway.events(job))[-1]["id"]
    for cursor in (last, "999999999999-0"):
        answer = await gateway.client.get(job["links"]["events"], headers={"Last-Event-ID": cursor})
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "cursor", ["x", "-1", "1-", "1-2-3", "$", "+", "1" * 300, "18446744073709551616-0", "\xe9", "%00"]
)
async def test_a_malformed_cursor_is_400(gateway: Any, cursor: str) -> None:
    job = await gateway.generate()
    answer = await gateway.client.get(job["links"]["events"], headers={"Last-Event-ID": cursor.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_cursor")


async def test_cancel_and_failure_end_the_stream_too(gateway: Any) -> None:
    job = await gateway.generate()
    assert (await gateway.client.delete(job["links"]["self"])).json()["status"] == "canceled"
    assert [event["event"] for event in await gateway.events(job)] == ["job.queued", "job.canceled"]


async def read_some(live: Any, job: dict[str, Any], cursor: str, count: int) -> list[dict[str, Any]]:
    """Up to `count` events after a cursor, then the connection is cut; fewer when the stream ends by itself."""
    events: list[dict[str, Any]] = []
    headers = {"Last-Event-ID": cursor} if cursor else {}
    async with live.client.stream("GET", job["links"]["events"], headers=headers) as answer:
        if answer.status_code == 204:
            return events
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            *blocks, text = text.split("\n\n")
            for block in blocks:
                events += live.parse_events(block + "\n\n")
                if len(events) == count:
                    return events
    return events


async def test_a_reader_cut_off_and_back_fifty_times_sees_every_event_once_and_in_order(live: Any) -> None:
    job = await live.generate(width=16 * 60)
    drawing = asyncio.create_task(live.worker.draw(pause_s=0.01))
    chance = random.Random(7)
    seen: list[dict[str, Any]] = []
    for _ in range(50):
        cursor = seen[-1]["id"] if seen else ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.005, 0.1)):  # cut at any moment, also before the first byte
                seen += await read_some(live, job, cursor, chance.randint(1, 4))
    seen += await read_some(live, job, seen[-1]["id"], 10_000)
    await drawing
    assert len(seen) == 2 + 2 * 60 + 1
    assert seen == await live.events(job)
    assert await read_some(live, job, seen[-1]["id"], 1) == []


async def test_first_bytes_come_at_once_and_pings_while_nothing_happens(live: Any) -> None:
    job = await live.generate()
    started = time.monotonic()
    async with live.client.stream("GET", job["links"]["events"]) as answer:
        text = ""
        async for piece in answer.aiter_text():
            if not text:
                assert time.monotonic() - started < 1.0
            text += piece
            if text.count(": ping\n\n") == 3:  # settings.ping_s is 0.2
                break
    assert text.startswith("retry: 2000\n\n")
    assert 0.5 < time.monotonic() - started < 5.0
    assert [event["event"] for event in live.parse_events(text)] == ["job.queued"]


async def test_a_patch_is_seen_while_the_job_goes_on(live: Any) -> None:
    job = await live.generate()
    watching = asyncio.create_task(read_some(live, job, "", 3))
    lease, taken = await live.worker.take()
    await live.worker.start(lease, taken)
    await live.worker.patch(lease, 0, 4)
    events = await asyncio.wait_for(watching, 5)
    assert events[-1]["event"] == "patch"
    assert (await live.client.get(job["links"]["self"])).json()["status"] == "running"


async def read_all(live: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """All events over a plain socket, which costs less than a client of 200 connections. HTTP/1.0: no chunks."""
    reader, writer = await asyncio.open_connection(live.client.base_url.host, live.client.base_url.port)
    writer.write(f"GET {job['links']['events']} HTTP/1.0\r\nHost: nuwa\r\n\r\n".encode())
    _, _, body = (await reader.read(-1)).decode().partition("\r\n\r\n")
    writer.close()
    return live.parse_events(body)


async def test_two_hundred_viewers_cost_one_reader_and_few_reads(live: Any) -> None:
    job = await live.generate(width=16 * 5)
    watching = [asyncio.create_task(read_all(live, job)) for _ in range(200)]
    await live.until(lambda: live.viewers == 200)
    assert "nuwa_stream_subscribers 200.0" in (await live.client.get("/metrics")).text
    live.broker.reads = live.broker.image_reads = 0
    await live.worker.draw(pause_s=0.02)
    histories = await asyncio.wait_for(asyncio.gather(*watching), 30)
    expected = await live.events(job)
    assert len(expected) == 2 + 10 + 1
    assert all(history == expected for history in histories)
    assert live.broker.waiting_most == 1
    appended = len(expected)  # one append each, read once by the reader (here by way of read()), by no viewer again
    assert live.broker.reads <= appended + 2
    assert live.broker.image_reads <= appended
    await live.until(lambda: live.viewers == 0 and live.broker.waiting_now == 0)


async def test_one_reader_waits_for_many_jobs_and_newcomers_are_waited_for_at_once(live: Any) -> None:
    jobs = [await live.generate() for _ in range(5)]
    watching = []
    for job in jobs:
        watching.append(asyncio.create_task(read_some(live, job, "", 10_000)))
        await asyncio.sleep(0.05)
    for _ in jobs:
        await live.worker.draw()
    for job, history in zip(jobs, await asyncio.gather(*watching), strict=True):
        assert history == await live.events(job)
    assert live.broker.waiting_most == 1


async def test_a_viewer_that_reads_nothing_holds_back_nobody(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = b"RIFF" + bytes(400_000)
    job = await live.generate(width=16 * 20)
    idle_reader, idle_writer = await asyncio.open_connection(
        live.client.base_url.host, live.client.base_url.port, limit=1024
    )
    idle_writer.write(f"GET {job['links']['events']} HTTP/1.1\r\nHost: nuwa\r\n\r\n".encode())
    watching = asyncio.create_task(read_some(live, job, "", 10_000))

    async def images(job_id: str, keys: Any) -> list[bytes]:
        return [huge] * len(keys)

    monkeypatch.setattr(live.broker, "images", images)
    await live.worker.draw(pause_s=0.01)
    assert len(await asyncio.wait_for(watching, 20)) == 2 + 40 + 1
    assert live.viewers == 1
    idle_writer.close()
    del idle_reader
    await live.until(lambda: live.viewers == 0)


async def test_leaving_cancels_nothing(live: Any) -> None:
    job = await live.generate()
    await read_some(live, job, "", 1)
    await live.worker.draw()
    assert (await live.client.get(job["links"]["self"])).json()["status"] == "succeeded"


async def test_a_stream_survives_redis_going_away(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds_module, "RETRY_S", 0.05)
    job = await live.generate()
    lease, taken = await live.worker.take()
    received = [""]

    async def watch() -> None:
        async with live.client.stream("GET", job["links"]["events"]) as answer:
            async for piece in answer.aiter_text():
                received[0] += piece

    watching = asyncio.create_task(watch())
    await live.worker.start(lease, taken)
    await asyncio.sleep(0.2)
    live.broker.away = True
    await live.worker.patch(lease, 0, 4)  # the worker's own connection is back before the gateway's
    pings = received[0].count(": ping")
    await asyncio.sleep(0.8)
    assert received[0].count(": ping") >= pings + 2
    refused = await live.client.get(job["links"]["events"])
    assert (refused.status_code, refused.json()["code"]) == (503, "broker_unavailable")
    live.broker.away = False
    await live.worker.finish(lease, taken)
    await asyncio.wait_for(watching, 5)
    assert live.parse_events(received[0]) == await live.events(job)


async def test_a_shutdown_ends_streams_quickly_and_between_events(live: Any) -> None:
    job = await live.generate()
    watching = asyncio.create_task(read_some(live, job, "", 10_000))
    await asyncio.sleep(0.3)
    started = time.monotonic()
    live.server.should_exit = True
    events = await asyncio.wait_for(watching, 5)  # an orderly end of the answer, or httpx would raise
    assert [event["event"] for event in events] == ["job.queued"]
    assert time.monotonic() - started < 2.0


async def test_resumes_and_first_patches_are_counted(live: Any) -> None:
    job = await live.generate()
    watching = asyncio.create_task(read_some(live, job, "", 10_000))
    await asyncio.sleep(0.1)
    await live.worker.draw()
    events = await watching
    await read_some(live, job, events[0]["id"], 10_000)
    figures = (await live.client.get("/metrics")).text
    assert "nuwa_stream_resumes_total 1.0" in figures
    assert "nuwa_time_to_first_patch_seconds_count 1.0" in figures


async def test_an_idle_gateway_asks_redis_nothing(gateway: Any) -> None:
    reads, waits = gateway.broker.reads, gateway.broker.waiting_most
    await asyncio.sleep(0.5)
    assert (gateway.broker.reads, gateway.broker.waiting_most, waits) == (reads, 0, 0)


async def test_kept_pages_stay_within_their_bytes(gateway: Any) -> None:
    job = await gateway.finished(width=16 * 40)
    small = Feeds(gateway.broker, cache_bytes=10_000)
    with small.watch(job["id"]) as feed:
        got = [frame async for frames in small.follow(feed, "0", Pixels.INLINE) for frame in frames]
    assert len(got) == 2 + 80 + 1
    assert 0 < small._pages_bytes <= 10_000
    assert small._pages_bytes == sum(page.size for page in small._pages.values())

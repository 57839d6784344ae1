"""The service is started whole, its stages are told apart, and the latencies come from the right calls."""

import asyncio
import hashlib

import pytest

from benchmarks.bare_worker import bare_worker
from benchmarks.models import SHIPPED
from benchmarks.served import peak_bytes, served
from benchmarks.service import STAGES, _latencies, stage_seconds
from benchmarks.traced_worker import Noted, Span, noted, read_spans
from benchmarks.viewer import Arrival, Seen, client, watch


@pytest.fixture
def seen() -> Seen:
    """Asked for at 100 s, one patch in hand at 108 s, ended at 110 s."""
    return Seen(100.0, [Arrival("patch", 108.0, "aa"), Arrival("job.finished", 110.0, "ff")])


@pytest.fixture
def spans() -> list[Span]:
    return [
        Span("engine.decode", 50.0, 60.0, count=3),  # of another picture
        Span("engine.start", 101.0, 101.5),
        Span("engine.decode", 102.0, 104.0, count=1),
        Span("engine.render", 104.0, 105.0),
        Span("engine.decode", 104.5, 105.25),  # begun before that patch is painted
        Span("encode", 105.0, 105.5, "aa"),
        Span("broker.append", 106.0, 107.5),
        Span("broker.append", 107.0, 107.25),
        Span("broker.append", 109.0, 109.5),
    ]


def test_every_stage_has_the_time_in_which_it_goes_on_and_the_rest_is_what_none_has(seen, spans):
    assert stage_seconds(seen, spans) == {
        "queue": 1.0,
        "decode": 3.25,
        "pixels": 1.0,
        "encode": 0.5,
        "redis": 2.0,
        "sse": 0.5,
        "rest": 2.5,
        "overlap": 0.75,
    }


@pytest.mark.parametrize("missing", ["encode", "engine.render", "broker.append"])
def test_a_stage_that_nobody_noted_is_an_error_not_a_zero(seen, spans, missing):
    with pytest.raises(RuntimeError, match="noted nothing of"):
        stage_seconds(seen, [span for span in spans if span.name != missing])


def test_a_patch_is_on_its_way_from_its_own_tokens_pixels_and_append(seen, spans, bench, said):
    _latencies(bench, [seen], spans)
    values = {row.name: row.value for row in said}
    assert values["part_tokens_to_viewer_p50"] == pytest.approx(4000)
    assert values["part_patch_to_viewer_p50"] == pytest.approx(3000)
    assert values["part_published_to_viewer_p50"] == pytest.approx(2000)


def test_calls_are_noted_whether_they_are_awaited_or_not():
    class Inner:
        slots = 4

        def draw(self) -> str:
            return "drawn"

        async def append(self) -> str:
            await asyncio.sleep(0.01)
            return "appended"

        def encode(self) -> bytes:
            return b"image"

        def decode(self) -> list[int]:
            return [4, 5]

    spans: list[Span] = []
    both = Noted(Inner(), "it", spans.append)
    assert both.slots == 4
    assert both.draw() == "drawn"
    assert asyncio.run(both.append()) == "appended"
    assert both.encode() == b"image"
    assert both.decode() == [4, 5]
    assert [span.name for span in spans] == ["it.draw", "it.append", "it.encode", "it.decode"]
    assert [span.count for span in spans] == [0, 0, 0, 2]
    assert spans[2].sha256 == hashlib.sha256(b"image").hexdigest()
    assert spans[1].seconds >= 0.009
    assert noted(len, "length", spans.append)([1]) == 1


@pytest.mark.redis
def test_a_picture_goes_through_all_processes_and_every_stage_is_noted(tmp_path):
    async def draw(url: str) -> Seen:
        async with client(url) as http:
            return await watch(http, 128, 64, seed=1)

    with served(SHIPPED, tmp_path / "spans", engine="tile") as service:
        one = asyncio.run(draw(service.url))
        assert peak_bytes(service.gateway) > 10_000_000
        running = [service.redis, service.gateway, service.worker]
    assert len(one.patches) == 2
    encoded = {span.sha256 for span in read_spans(tmp_path / "spans") if span.name == "encode"}
    assert {patch.sha256 for patch in one.patches} <= encoded
    assert {span.name for span in read_spans(tmp_path / "spans")} >= {
        name for names in STAGES.values() for name in names
    }
    assert stage_seconds(one, read_spans(tmp_path / "spans"))["decode"] > 0
    assert not any(process.is_running() for process in running)


@pytest.mark.redis
def test_a_service_that_cannot_start_says_what_its_processes_said(tmp_path):
    with pytest.raises(RuntimeError, match="NUWA_SLOTS"), served(tmp_path, slots=0):
        pass


def test_a_bare_worker_draws_picture_after_picture_and_its_end_is_noticed():
    with bare_worker(64, 64) as bare:
        assert bare.seconds(1) > 0
        assert bare.seconds(1) > 0, "the same seed again"
        bare.process.kill()
        bare.process.wait()
        with pytest.raises(RuntimeError, match="the bare worker ended with -9"):
            bare.said()

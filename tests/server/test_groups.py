"""Several candidates of one request: jobs of their own, together in the queue, ranked at the end, canceled as one."""

import asyncio
from typing import Any

import pytest

from jobs.events import Fit, JobFailed, JobFinished
from jobs.request import SEED_MAX

pytestmark = pytest.mark.anyio


async def group_of(gateway: Any, **body: Any) -> dict[str, Any]:
    answer = await gateway.client.post("/generate", json={"prompt": "a lake", "width": 64, "height": 16, **body})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["links"]["self"] == f"/groups/{answer.json()['id']}"
    return answer.json()


async def read(gateway: Any, group: dict[str, Any]) -> dict[str, Any]:
    return (await gateway.client.get(group["links"]["self"])).json()


async def end(gateway: Any, score: float | None = None, code: str | None = None) -> None:
    """The next candidate in the queue is drawn."""
    lease, job = await gateway.worker.take()
    gateway.store.put(job.id, b"png")
    fit = Fit(score=score, asked={"water": ("lake",)} if score is not None else {}, read={"water": "sea"})
    last = JobFinished(seconds=1.0, sha256="ab", fit=fit) if code is None else JobFailed(code=code, message="no")
    await gateway.worker.write(lease, last)


async def test_candidates_are_jobs_of_their_own_with_seeds_in_a_row(gateway: Any) -> None:
    group = await group_of(gateway, n=3, seed=SEED_MAX - 1)
    assert [job["seed"] for job in group["candidates"]] == [SEED_MAX - 1, SEED_MAX, 0]
    assert [job["id"] for job in group["candidates"]] == [f"{group['id']}-{place}" for place in range(3)]
    assert [job["queue_position"] for job in group["candidates"]] == [0, 1, 2]
    assert (group["status"], group["n"], group["ended"], group["ranked"]) == ("queued", 3, 0, False)
    assert (group["patches_done"], group["patches_total"]) == (0, 12)
    for job in group["candidates"]:
        assert (await gateway.client.get(job["links"]["self"])).json() == job
        assert (job["group"], job["fit"]) == (group["id"], None)
    drawn = await gateway.worker.draw()
    assert drawn.request.seed == drawn.seed == SEED_MAX - 1, "what the file says draws this picture alone"
    assert drawn.request.n == 1


async def test_a_drawn_seed_is_the_first_of_the_row(gateway: Any) -> None:
    first, second = (await group_of(gateway, n=2))["candidates"]
    assert second["seed"] == (first["seed"] + 1) % (SEED_MAX + 1)


async def test_a_finished_group_is_ranked_and_says_what_was_read(gateway: Any) -> None:
    group = await group_of(gateway, n=5, seed=0)
    await end(gateway, 0.5)
    half = await read(gateway, group)
    assert (half["status"], half["ended"], half["ranked"]) == ("running", 1, False)
    assert [job["seed"] for job in half["candidates"]] == [0, 1, 2, 3, 4]
    for score, code in ((None, "engine_error"), (0.9, None), (None, None), (0.5, None)):
        await end(gateway, score, code)
    whole = await read(gateway, group)
    assert (whole["status"], whole["ended"], whole["ranked"]) == ("succeeded", 5, True)
    assert [job["seed"] for job in whole["candidates"]] == [2, 0, 4, 3, 1]
    best = whole["candidates"][0]
    assert best["fit"] == {"score": 0.9, "asked": {"water": ["lake"]}, "read": {"water": "sea"}}
    assert (await gateway.client.get(best["links"]["self"])).json() == best
    assert (await gateway.client.get(best["links"]["events"])).text.count('"score":0.9') == 1


async def test_without_scores_the_order_of_seeds_stays(gateway: Any) -> None:
    group = await group_of(gateway, n=4, seed=0)
    for score in (None, None, None, None):
        await end(gateway, score)
    assert [job["seed"] for job in (await read(gateway, group))["candidates"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(("codes", "status"), [([None, "a"], "succeeded"), (["a", "b"], "failed")])
async def test_a_group_has_succeeded_if_any_candidate_has(gateway: Any, codes: list[str | None], status: str) -> None:
    group = await group_of(gateway, n=2)
    for code in codes:
        await end(gateway, 0.5, code)
    assert (await read(gateway, group))["status"] == status


async def test_canceling_a_group_cancels_what_has_not_ended(gateway: Any) -> None:
    group = await group_of(gateway, n=3)
    await end(gateway, 0.5)
    running, _ = await gateway.worker.take()
    for _ in range(2):
        answer = await gateway.client.delete(group["links"]["cancel"])
        assert answer.status_code == 200
        assert [job["status"] for job in answer.json()["candidates"]] == ["succeeded", "running", "canceled"]
    assert await gateway.broker.cancel_requested(running)
    lone = await group_of(gateway, n=2)
    answer = await gateway.client.delete(lone["links"]["cancel"])
    assert (answer.json()["status"], answer.json()["ranked"]) == ("canceled", True)


async def test_waiting_waits_for_all(gateway: Any) -> None:
    body = {"prompt": "a lake", "width": 64, "height": 16, "n": 2}
    asking = asyncio.create_task(gateway.client.post("/generate", json=body, headers={"Prefer": "wait=30"}))
    for _ in range(2):
        await gateway.worker.draw()
    answer = await asking
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=30")
    assert (answer.json()["status"], answer.json()["ranked"]) == ("succeeded", True)
    answer = await gateway.client.post("/generate", json=body, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_a_queue_without_room_for_all_takes_none(gateway: Any) -> None:
    gateway.broker._limits = type(gateway.broker._limits)(queue_max=3)
    await group_of(gateway, n=2)
    answer = await gateway.client.post("/generate", json={"n": 2})
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert await gateway.broker.depth() == 2
    assert (await gateway.client.post("/generate", json={})).status_code == 202


@pytest.mark.parametrize(
    ("n", "limit"), [(0, 1), (-1, 1), (9, 8), (10**9, 64), (1.5, None), ("2", None), (True, None), (None, None)]
)
@pytest.mark.parametrize("path", ["/generate", "/plan"])
async def test_a_number_that_cannot_be_is_refused(gateway: Any, path: str, n: object, limit: int | None) -> None:
    answer = await gateway.client.post(path, json={"n": n})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["limit"]) == ("/n", limit)
    assert await gateway.broker.depth() == 0


async def test_films_have_candidates_too(gateway: Any) -> None:
    info = gateway.model.model_copy(update={"extent": (1, 1, 1)})
    await gateway.broker.announce("fake", [info], ttl_s=60)
    group = await group_of(gateway, n=2, seed=4, frames=3)
    assert [(job["task"], job["frames"], job["seed"]) for job in group["candidates"]] == [
        ("text_to_video", 3, 4),
        ("text_to_video", 3, 5),
    ]
    for score in (0.2, 0.8):
        await end(gateway, score)
    assert [job["seed"] for job in (await read(gateway, group))["candidates"]] == [5, 4]


async def test_one_candidate_is_a_job(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={"n": 1})
    assert answer.headers["location"].startswith("/jobs/")
    assert answer.json()["group"] is None


async def test_a_group_has_no_one_event_stream(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={"n": 2}, headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/n")
    assert await gateway.broker.depth() == 0


@pytest.mark.parametrize("group", ["abc", "a" * 63, "a" * 200, "%2e%2e", "%00", "é"])
async def test_an_unknown_group_is_404(gateway: Any, group: str) -> None:
    for call in (gateway.client.get, gateway.client.delete):
        answer = await call(f"/groups/{group}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_job_is_no_group_and_a_group_no_job(gateway: Any) -> None:
    job, group = await gateway.generate(), await group_of(gateway, n=2)
    assert (await gateway.client.get(f"/groups/{job['id']}")).json()["code"] == "group_not_found"
    assert (await gateway.client.get(f"/groups/{group['id']}-0")).json()["code"] == "group_not_found"
    assert (await gateway.client.get(f"/jobs/{group['id']}")).json()["code"] == "job_not_found"


async def test_models_say_how_many_candidates_there_may_be(gateway: Any) -> None:
    [model] = (await gateway.client.get("/models")).json()["models"]
    assert model["limits"]["max_candidates"] == 8


async def test_a_plan_has_the_price_of_all_candidates(gateway: Any) -> None:
    info = gateway.model.model_copy(update={"start_seconds": 0.25, "patch_seconds": 0.5})
    await gateway.broker.announce("fake", [info], ttl_s=60)
    body = {"prompt": "a lake", "width": 64, "height": 16}
    one, four = [(await gateway.client.post("/plan", json={**body, "n": n})).json() for n in (1, 4)]
    assert (one.pop("n"), one.pop("expected_seconds")) == (1, 2.2), "a beginning and four patches"
    assert (four.pop("n"), four.pop("expected_seconds")) == (4, 9.0)
    assert one == four

"""POST /generate: what is accepted, how it is answered, and every way in which it can be wrong."""

import asyncio
import json
import re
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def test_a_request_becomes_a_job_with_everything_fixed(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={"prompt": "a lake", "width": 100, "height": 33})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert re.fullmatch(r"[0-9a-f]{32}", job["id"])
    assert (job["status"], job["queue_position"], job["task"]) == ("queued", 0, "text_to_image")
    assert job["patches_total"] == 7 * 3
    assert 0 <= job["seed"] < 2**32
    assert job["order"] == "zeta"  # wide canvases are quicker row by row
    assert job["model"] == "tiny"
    sampling = {"temperature": 1.0, "top_k": 0, "top_p": 0.98, "min_p": 0.0, "later_min_p": 0.6, "cfg_scale": 4.0}
    sampling["distilled"] = False
    assert job["sampling"] == sampling
    assert (await gateway.client.get(job["links"]["self"])).json() == job


async def test_a_tall_canvas_gets_the_other_order_and_a_forced_one_stays(gateway: Any) -> None:
    assert (await gateway.generate(width=16, height=160))["order"] == "omega"
    assert (await gateway.generate(width=16, height=160, order="zeta"))["order"] == "zeta"


async def test_a_seed_that_is_given_is_kept_and_others_differ(gateway: Any) -> None:
    assert (await gateway.generate(seed=0))["seed"] == 0
    assert len({(await gateway.generate())["seed"] for _ in range(8)}) == 8  # equal by chance once in 10^8 runs


async def test_ids_sort_by_age(gateway: Any) -> None:
    ids = []
    for _ in range(4):
        ids.append((await gateway.generate())["id"])
        await asyncio.sleep(0.002)
    assert ids == sorted(ids)


async def test_without_a_prompt_the_task_is_unconditional(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={})
    assert (answer.status_code, answer.json()["task"], answer.json()["prompt"]) == (202, "unconditional_image", None)


BAD_FIELDS: list[tuple[str, Any, str, str, Any]] = [
    ("width", 0, "/width", "width must be at least 1 (got 0)", 1),
    ("width", -5, "/width", "width must be at least 1 (got -5)", 1),
    ("width", 1_000_000_000, "/width", "width must be at most 65536 (got 1000000000)", 65536),
    ("height", 10**400, "/height", "height must be at most 65536 (got 1000", 65536),
    (
        "height",
        65536,
        "/width",
        "width times height must be at most 1000000 pixels (got 64 x 65536 = 4194304)",
        1000000,
    ),
    ("width", 64.0, "/width", "width must be a whole number (got 64.0)", None),
    ("width", "64", "/width", 'width must be a whole number (got "64")', None),
    ("width", None, "/width", "width must be a whole number (got null)", None),
    ("width", [64], "/width", "width must be a whole number (got an array)", None),
    ("width", True, "/width", "width must be a whole number (got true)", None),
    ("seed", -1, "/seed", "seed must be at least 0 (got -1)", 0),
    ("seed", 2**32, "/seed", "seed must be at most 4294967295 (got 4294967296)", 2**32 - 1),
    ("prompt", "", "/prompt", "prompt must hold at least one visible character", None),
    ("prompt", " \n\t", "/prompt", "prompt must hold at least one visible character", None),
    ("prompt", "x" * 2001, "/prompt", "prompt must hold at most 2000 characters (got 2001)", 2000),
    ("prompt", 7, "/prompt", "prompt must be a text (got 7)", None),
    ("prompt", {"a": 1}, "/prompt", "prompt must be a text (got an object)", None),
    ("prompt", "a\0b", "/prompt", "prompt must hold no control characters (got U+0000 at 1)", None),
    ("prompt", "a\x1bb", "/prompt", "prompt must hold no control characters (got U+001B at 1)", None),
    ("prompt", "lone \ud800", "/prompt", "prompt must be valid Unicode, without lone surrogates", None),
    ("order", "spiral", "/order", "order must be one of 'auto', 'omega'", None),
    ("order", "omega_star", "/order", "order must be auto or one that model tiny was trained on: omega, zeta", None),
    ("task", "video", "/task", "task must be one of 'unconditional_image', 'text_to_image', 'image_outpainting'", None),
    ("task", "text_to_video", "/task", "task cannot be text_to_video: model tiny looks at no frame but its own", None),
    ("frames", 2, "/task", "task cannot be text_to_video: model tiny looks at no frame but its own", None),
    ("task", "animation", "/image", "image is required for task image_animation", None),
    ("task", "outpainting", "/image", "image is required for task image_outpainting", None),
    ("extend", {"left": 10**9}, "/extend/left", "extend.left must be at most 65536 (got 1000000000)", 65536),
    ("extend", {"left": -1}, "/extend/left", "extend.left must be at least 0 (got -1)", 0),
    ("extend", {"up": 1}, "/extend/up", "extend.up is not a known field", None),
    ("extend", 5, "/extend", "extend must be a JSON object (got 5)", None),
    ("anchor", "middle", "/anchor", "anchor must be one of 'center'", None),
    ("image", 5, "/image", "image must be a text (got 5)", None),
    ("task", "unconditional_image", "/prompt", "task unconditional_image takes no prompt", None),
    ("model", "", "/model", 'model must be one of tiny (got "")', ["tiny"]),
    ("model", "huge", "/model", 'model must be one of tiny (got "huge")', ["tiny"]),
    ("sampling", {"top_p": 0}, "/sampling/top_p", "sampling.top_p must be more than 0 (got 0)", 0),
    ("sampling", {"top_k": -1}, "/sampling/top_k", "sampling.top_k must be at least 0 (got -1)", 0),
    ("sampling", {"temperature": float("nan")}, "/sampling/temperature", "must be a finite number (got NaN)", None),
    ("sampling", {"cfg_scale": float("inf")}, "/sampling/cfg_scale", "must be a finite number (got Infinity)", None),
    ("sampling", {"temperature": "hot"}, "/sampling/temperature", "must be a finite number", None),
    ("sampling", None, "/sampling", "sampling must be a JSON object (got null)", None),
    ("sampling", [], "/sampling", "sampling must be a JSON object (got an array)", None),
    ("with", 1, "/with", "with is not a known field", None),
    ("a/b~c", 1, "/a~1b~0c", "a/b~c is not a known field", None),
    ("\udfff", 1, "", "the body must be valid Unicode, without lone surrogates", None),
]


@pytest.mark.parametrize(("field", "value", "pointer", "message", "limit"), BAD_FIELDS)
async def test_a_bad_field_is_named_with_its_limit(
    gateway: Any, field: str, value: Any, pointer: str, message: str, limit: Any
) -> None:
    body = json.dumps({"prompt": "a lake", "width": 64, "height": 16, field: value})
    answer = await gateway.client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    if limit is not None:
        assert error["limit"] == limit
    assert len(error["message"]) < 250
    assert await gateway.broker.depth() == 0


async def test_guidance_in_one_pass_is_granted_as_far_as_the_model_has_learned_it(gateway: Any) -> None:
    async def errors(**sampling: Any) -> list[Any]:
        body = {"prompt": "a lake", "width": 64, "height": 16, "sampling": {"distilled": True, **sampling}}
        answer = await gateway.client.post("/generate", json=body)
        assert answer.status_code in {202, 422}
        return [(e["pointer"], e["message"], e["limit"]) for e in answer.json().get("errors", [])]

    rule = "sampling.distilled must be false: model tiny has not learned it (got true)"
    assert await errors() == [("/sampling/distilled", rule, False)]
    await gateway.broker.announce("fake", [gateway.model.model_copy(update={"distilled_scale": 5.0})], ttl_s=60)
    assert await errors() == await errors(cfg_scale=1.0) == await errors(cfg_scale=5.0) == []
    rule = "sampling.cfg_scale must be from 1 to 5 with sampling.distilled: what model tiny has learned (got 5.5)"
    assert await errors(cfg_scale=5.5) == [("/sampling/cfg_scale", rule, 5.0)]
    assert await gateway.broker.depth() == 3


async def test_all_bad_fields_are_named_but_not_thousands(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={"width": 0, "height": 0, "colour": "red"})
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/width", "/height", "/colour"}
    answer = await gateway.client.post("/generate", json={f"field{n}": n for n in range(3000)})
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)


UNREADABLE = [
    (b"", 400),
    (b"{", 400),
    (b'{"prompt": }', 400),
    (b'{"prompt": "a"} trailing', 400),
    (b"\xff\xfe\xfd", 400),
    (b'{"prompt": "\xc3\x28"}', 400),
    (b'{"seed": ' + b"9" * 5000 + b"}", 400),
    (b"[" * 60_000, 400),
    (b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}", 422),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    (b"[]", 422),
    (b"null", 422),
    (b'"a lake"', 422),
    (b"17", 422),
    (b"NaN", 422),
    (b'{"width": 1e999}', 422),
    (b'{"width": -0}', 422),
]


@pytest.mark.parametrize(("body", "status"), UNREADABLE, ids=[repr(body[:20]) for body, _ in UNREADABLE])
async def test_a_body_that_is_no_request_is_refused_politely(gateway: Any, body: bytes, status: int) -> None:
    answer = await gateway.client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == ("bad_request" if status == 400 else "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart", "json", ""])
async def test_a_body_that_is_not_called_json_is_415(gateway: Any, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = await gateway.client.post("/generate", content=b'{"prompt": "a lake"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_json_content_type_may_name_its_charset(gateway: Any) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await gateway.client.post("/generate", content=b'{"prompt": "a lake"}', headers=headers)).status_code == 202


@pytest.mark.parametrize(
    "head",
    ["Content-Length: 8388609", "Content-Length: 99999999999", "Transfer-Encoding: chunked"],
    ids=lambda head: head,
)
async def test_a_body_over_the_limit_is_413_before_it_is_whole(live: Any, head: str) -> None:
    reader, writer = await asyncio.open_connection(live.client.base_url.host, live.client.base_url.port)
    writer.write(f"POST /generate HTTP/1.1\r\nHost: nuwa\r\nContent-Type: application/json\r\n{head}\r\n\r\n".encode())
    if "chunked" in head:
        for _ in range(9):  # 9 MiB, and never an end
            writer.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "body_too_large"' in answer
    assert b"at most 8388608 bytes" in answer


async def test_a_full_queue_is_429_and_says_when_to_come_back(gateway: Any) -> None:
    gateway.broker._limits = type(gateway.broker._limits)(queue_max=1)
    await gateway.generate()
    answer = await gateway.client.post("/generate", json={"prompt": "a lake"})
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


async def test_before_the_first_worker_503_and_after_the_last_one_jobs_are_still_taken(empty_gateway: Any) -> None:
    answer = await empty_gateway.client.post("/generate", json={"prompt": "a lake"})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
    assert int(answer.headers["retry-after"]) > 0
    await empty_gateway.broker.announce("fake", [empty_gateway.model], ttl_s=60)
    await empty_gateway.generate()
    await empty_gateway.broker.announce("fake", [], ttl_s=0)
    assert (await empty_gateway.generate())["model"] == "tiny"


async def test_prefer_wait_answers_with_the_ended_job(gateway: Any) -> None:
    drawing = asyncio.create_task(gateway.worker.draw(pause_s=0.02))
    answer = await gateway.client.post("/generate", json={"width": 64, "height": 16}, headers={"Prefer": "wait=20"})
    await drawing
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"] == answer.json()["links"]["self"]


async def test_prefer_wait_gives_up_in_time(gateway: Any) -> None:
    answer = await gateway.client.post(
        "/generate", json={"prompt": "a lake"}, headers={"Prefer": "respond-async, wait=1"}
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("prefer", ["wait=0", "wait=-1", "wait=soon", "wait", "return=minimal", "wait=1e9", "\xff"])
async def test_a_preference_that_makes_no_sense_is_ignored(gateway: Any, prefer: str) -> None:
    headers = {"Prefer": prefer.encode("latin-1")}
    answer = await gateway.client.post("/generate", json={"prompt": "a lake"}, headers=headers)
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_accept_event_stream_streams_the_job_at_once(gateway: Any) -> None:
    drawing = asyncio.create_task(gateway.worker.draw())
    headers = {"Accept": "text/event-stream, */*"}
    answer = await gateway.client.post("/generate", json={"width": 64, "height": 16}, headers=headers)
    await drawing
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = gateway.parse_events(answer.text)
    assert [events[0]["event"], events[-1]["event"]] == ["job.queued", "job.finished"]
    job = (await gateway.client.get(answer.headers["location"])).json()
    assert job["status"] == "succeeded"
    assert events == await gateway.events(job)


async def test_an_accepted_job_is_answered_with_202_although_redis_goes_away(gateway: Any) -> None:
    submit = gateway.broker.submit

    async def submit_and_vanish(*args: Any) -> None:
        await submit(*args)
        gateway.broker.away = True

    gateway.broker.submit = submit_and_vanish
    answer = await gateway.client.post("/generate", json={"prompt": "a lake"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")

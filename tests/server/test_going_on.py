"""Going on from a finished job by its id, and getting given pictures back."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.events import JobFailed

pytestmark = pytest.mark.anyio


async def post(gateway: Any, path: str = "/generate", **body: Any) -> Any:
    return await gateway.client.post(path, json=body)


async def test_a_finished_picture_is_extended_by_its_id(gateway: Any) -> None:
    source = await gateway.finished()
    answer = await post(gateway, job=source["id"], extend={"right": 20}, prompt="dunes")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["task"], job["job"]) == ("image_outpainting", source["id"])
    assert (job["width"], job["height"], job["given"]) == (84, 16, [0, 0, 64, 16])
    gateway.store.delete(source["id"])  # what was given is the job's own
    given = await gateway.client.get(f"{job['links']['self']}/given")
    assert (given.status_code, given.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(given.content)) as image:
        assert image.size == (64, 16)
    _, taken = await gateway.worker.take()
    assert gateway.store.get(taken.id, "given") == given.content


async def test_size_anchor_repaint_and_candidates_go_with_a_job_too(gateway: Any) -> None:
    source = await gateway.finished()
    wide = (await post(gateway, "/plan", job=source["id"], width=96, anchor="left")).json()
    assert (wide["width"], wide["height"], wide["given"]) == (96, 16, [0, 0, 64, 16])
    area = {"left": 16, "top": 0, "width": 16, "height": 16}
    group = (await post(gateway, job=source["id"], repaint=area, n=2)).json()
    for job in group["candidates"]:
        assert (job["repaint"], job["width"]) == (area, 64)
        assert gateway.store.get(job["id"], "given") is not None


async def test_a_job_whose_picture_cannot_be_had_is_refused_politely(gateway: Any) -> None:
    lost = await gateway.finished()
    gateway.store.delete(lost["id"])
    failed = await gateway.generate()
    lease, _ = await gateway.worker.take()
    await gateway.worker.write(lease, JobFailed(code="out_of_memory", message="The device is full."))
    canceled = await gateway.generate()
    await gateway.client.delete(canceled["links"]["self"])
    waiting = await gateway.generate()
    for job_id, status, code, said in (
        ("0" * 32, 404, "job_not_found", "There is no"),
        ("../etc", 404, "job_not_found", "There is no"),
        ("", 404, "job_not_found", "There is no"),
        (waiting["id"], 409, "result_not_ready", "queued"),
        (failed["id"], 422, "invalid_request", "The device is full."),
        (canceled["id"], 422, "invalid_request", "canceled"),
        (lost["id"], 422, "invalid_request", "no longer kept"),
        ("a" * 65, 422, "invalid_request", "at most 64 characters"),
    ):
        for path in ("/generate", "/plan"):
            answer = await post(gateway, path, job=job_id, extend={"right": 8})
            assert (answer.status_code, answer.json()["code"]) == (status, code), (job_id, answer.text)
            assert said in answer.json()["detail"]
            if status == 422:
                assert answer.json()["errors"][0]["pointer"] == "/job"
            if status == 409:
                assert int(answer.headers["retry-after"]) > 0
    assert await gateway.broker.depth() == 1


async def test_a_picture_too_large_to_be_given_is_refused(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await gateway.finished()
    monkeypatch.setattr("server.prepare.GIVEN_MAX_PIXELS", 64 * 16 - 1)
    answer = await post(gateway, job=source["id"], extend={"right": 8})
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["limit"]) == (422, "/job", 64 * 16 - 1)


async def test_a_picture_comes_from_one_place(gateway: Any) -> None:
    source = await gateway.finished()
    image = gateway.store.get(source["id"])
    request = f'{{"job": "{source["id"]}", "extend": {{"right": 8}}}}'
    form = {"image": ("a.png", image, "image/png"), "request": (None, request)}
    answer = await gateway.client.post("/generate", files=form)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/job")
    answer = await post(gateway, job=source["id"], image="aaaa", extend={"right": 8})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/job")


async def test_a_given_picture_comes_back_upright_and_in_parts(gateway: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half
    Image.fromarray(pixels).save(out, "PNG", exif=exif)
    form = {"image": ("a.png", out.getvalue(), "image/png"), "request": (None, '{"extend": {"right": 8}}')}
    job = (await gateway.client.post("/generate", files=form)).json()
    path = f"{job['links']['self']}/given"
    whole = await gateway.client.get(path)
    with Image.open(io.BytesIO(whole.content)) as image:
        assert np.array_equal(np.asarray(image), pixels[::-1, ::-1])
    part = await gateway.client.get(path, headers={"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    gateway.store.delete(job["id"], "given")
    gone = await gateway.client.get(path)
    assert (gone.status_code, gone.json()["code"]) == (410, "result_gone")


async def test_a_job_without_a_given_picture_says_so(gateway: Any) -> None:
    job = await gateway.generate()
    answer = await gateway.client.get(f"{job['links']['self']}/given")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_given_picture")
    assert (await gateway.client.get("/jobs/abc/given")).json()["code"] == "job_not_found"


async def test_guidance_scale_is_another_name_for_cfg_scale(gateway: Any) -> None:
    job = await gateway.generate(guidance_scale=1.5, sampling={"top_k": 7})
    assert (job["sampling"]["cfg_scale"], job["sampling"]["top_k"]) == (1.5, 7)
    for body in ({"guidance_scale": 21}, {"guidance_scale": 2, "sampling": {"cfg_scale": 2}}):
        answer = await post(gateway, **body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/guidance_scale")

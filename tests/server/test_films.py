"""Films through the gateway, drawn by a real worker with plain tiles: fields, streams, frames, results, refusals."""

import base64
import hashlib
import io
import json
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.anyio

SUNSET = {"prompt": "a sunset", "width": 40, "height": 24, "frames": 4, "fps": 5, "seed": 3}
PHOTO = Image.linear_gradient("L").resize((40, 24)).convert("RGB")


def png(image: Image.Image = PHOTO) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


async def asked(served: Any, path: str = "/generate", file: bytes | None = None, **body: Any) -> httpx.Response:
    if file is None:
        return await served.client.post(path, json=body, headers={"Prefer": "wait=30"})
    form = {"image": ("photo.png", file, "image/png"), "request": (None, json.dumps(body))}
    return await served.client.post(path, files=form, headers={"Prefer": "wait=30"})


def shown(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


async def test_words_become_a_film_with_frames_and_four_formats(gateway: Any) -> None:
    async with gateway.drawing():
        answer = await asked(gateway, **SUNSET)
    job = answer.json()
    assert (answer.status_code, job["status"], job["task"]) == (200, "succeeded", "text_to_video")
    assert (job["frames"], job["fps"], job["patches_total"]) == (4, 5, 4 * 6)
    assert job["links"]["film"] == f"/jobs/{job['id']}/film"
    events = await gateway.events(job)
    started = next(event["data"] for event in events if event["event"] == "job.started")
    assert (started["frames"], started["fps"]) == (4, 5)
    frames = [event["data"] for event in events if event["event"] == "frame"]
    assert [(frame["index"], frame["done"], frame["total"]) for frame in frames] == [(n, n + 1, 4) for n in range(4)]

    for number in range(4):
        answer = await gateway.client.get(f"/jobs/{job['id']}/frames/{number}")
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as image:
            assert (image.format, image.size) == ("PNG", (40, 24))
            assert hashlib.sha256(image.tobytes()).hexdigest() == frames[number]["sha256"]

    for accept, kind in (("*/*", "video/mp4"), ("video/webm", "video/webm"), ("image/webp", "image/webp")):
        answer = await gateway.client.get(job["links"]["result"], headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert len(shown((await gateway.client.get(job["links"]["result"])).content)) == 4
    for kind in ("webp", "gif"):
        answer = await gateway.client.get(job["links"]["result"], params={"format": kind, "download": "1"})
        assert answer.headers["content-disposition"] == f'attachment; filename="a-sunset.{kind}"'
        with Image.open(io.BytesIO(answer.content)) as image:
            assert (image.n_frames, image.size) == (4, (40, 24))
    part = await gateway.client.get(job["links"]["result"], headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    again = await gateway.client.get(job["links"]["result"], headers={"If-None-Match": part.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("named", [{}, {"task": "animation"}])
@pytest.mark.parametrize("way", ["form", "base64"])
async def test_a_picture_becomes_the_first_frame_byte_for_byte(gateway: Any, way: str, named: dict[str, Any]) -> None:
    body: dict[str, Any] = {"frames": 3, **named}
    async with gateway.drawing():
        if way == "form":
            answer = await asked(gateway, file=png(), **body)
        else:
            answer = await asked(gateway, **{**body, "image": base64.b64encode(png()).decode()})
    job = answer.json()
    assert (job["status"], job["task"], job["fps"]) == ("succeeded", "image_animation", 8)
    assert (job["width"], job["height"], job["given"]) == (40, 24, [0, 0, 40, 24])
    frames = [(await gateway.client.get(f"/jobs/{job['id']}/frames/{number}")).content for number in (0, 1)]
    with Image.open(io.BytesIO(frames[0])) as first, Image.open(io.BytesIO(frames[1])) as second:
        assert first.tobytes() == PHOTO.tobytes()
        assert second.tobytes() != PHOTO.tobytes()
    given = await gateway.client.get(f"/jobs/{job['id']}/given")
    assert given.status_code == 200


async def test_a_film_goes_on_from_the_last_frame_of_another_and_a_picture_of_a_job_becomes_one(gateway: Any) -> None:
    async with gateway.drawing():
        film = (await asked(gateway, **SUNSET)).json()
        longer = (await asked(gateway, job=film["id"], frames=2)).json()
        still = (await asked(gateway, prompt="a lake", width=40, height=24)).json()
        moving = (await asked(gateway, job=still["id"], frames=2, prompt="panning left")).json()
    assert (longer["task"], longer["job"], longer["width"], longer["height"]) == ("image_animation", film["id"], 40, 24)
    assert (longer["fps"], moving["fps"]) == (5, 8), "that of the film, or what every film has"
    last = await gateway.client.get(f"/jobs/{film['id']}/frames/3")
    first = await gateway.client.get(f"/jobs/{longer['id']}/frames/0")
    assert first.content == last.content
    picture = await gateway.client.get(still["links"]["result"])
    first = await gateway.client.get(f"/jobs/{moving['id']}/frames/0")
    with Image.open(io.BytesIO(picture.content)) as whole, Image.open(io.BytesIO(first.content)) as frame:
        assert whole.tobytes() == frame.tobytes()
    for body, status in (({"job": "nobody", "frames": 2}, 404), ({"job": film["id"], "extend": {"left": 8}}, 422)):
        assert (await asked(gateway, **body)).status_code == status
    waiting = (await gateway.client.post("/generate", json=SUNSET)).json()
    assert (await asked(gateway, job=waiting["id"], frames=2)).status_code == 409


async def test_a_film_streams_while_it_is_drawn_and_can_be_had_in_parts_afterwards(live: Any) -> None:
    async with live.drawing(delay_s=0.03):
        job = (await live.client.post("/generate", json={**SUNSET, "frames": 12})).json()
        received, at_first = b"", None
        async with live.client.stream("GET", job["links"]["film"]) as film:
            assert film.status_code == 200
            assert film.headers["content-type"].startswith('video/mp4; codecs="avc1.6400')
            async for chunk in film.aiter_bytes():
                received += chunk
                if at_first is None:
                    at_first = (await live.client.get(job["links"]["self"])).json()
        await live.client.get(job["links"]["events"])
    assert at_first is not None
    assert at_first["status"] == "running", "it began long before the end"
    assert len(shown(received)) == 12
    whole = await live.client.get(job["links"]["film"])
    assert whole.content == received
    assert whole.headers["content-type"] == film.headers["content-type"]
    part = await live.client.get(job["links"]["film"], headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert live.viewers == 0


async def test_a_viewer_who_leaves_is_forgotten_and_a_canceled_film_ends_its_streams(live: Any) -> None:
    async with live.drawing(delay_s=0.03):
        job = (await live.client.post("/generate", json={**SUNSET, "frames": 200})).json()
        async with live.client.stream("GET", job["links"]["film"]) as film:
            await anext(film.aiter_bytes())
            assert live.viewers == 1
        await live.until(lambda: live.viewers == 0)
        async with live.client.stream("GET", job["links"]["film"]) as film:
            chunks = film.aiter_bytes()
            received = await anext(chunks)
            while (await live.client.get(f"/jobs/{job['id']}/frames/2")).status_code != 200:
                received += await anext(chunks)
            await live.client.delete(job["links"]["cancel"])
            async for chunk in chunks:
                received += chunk
    assert len(shown(received)) >= 3
    assert (await live.client.get(job["links"]["result"])).status_code == 410
    assert (await live.client.get(job["links"]["film"])).content == received, "what was made stays"


async def test_a_film_that_has_not_begun_and_what_is_no_film(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.films.BEGINNING_S", 0.05)
    async with gateway.drawing():
        await gateway.client.get("/models")  # the gateway has seen one that makes films
    film = (await gateway.client.post("/generate", json=SUNSET)).json()
    early = await gateway.client.get(film["links"]["film"])
    assert (early.status_code, early.json()["code"]) == (409, "film_not_begun")
    assert early.headers["retry-after"]
    assert (await gateway.client.get(film["links"]["result"])).status_code == 409
    for frame, code in (("0", "frame_not_found"), ("4", "frame_not_found"), ("x", "frame_not_found")):
        answer = await gateway.client.get(f"/jobs/{film['id']}/frames/{frame}")
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    await gateway.client.delete(film["links"]["cancel"])
    assert (await gateway.client.get(film["links"]["film"])).status_code == 410

    still = (await gateway.client.post("/generate", json={"prompt": "a", "width": 16, "height": 16})).json()
    assert (still["frames"], still["fps"], still["links"]["film"]) == (1, None, None)
    for path in ("film", "frames/0"):
        answer = await gateway.client.get(f"/jobs/{still['id']}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_film")
        assert (await gateway.client.get(f"/jobs/nobody/{path}")).json()["code"] == "job_not_found"
    for job, kind in ((still, "mp4"), (film, "png"), (film, "avi")):
        answer = await gateway.client.get(job["links"]["result"], params={"format": kind})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/format")


async def test_gif_is_refused_where_it_would_be_shown_slowly(gateway: Any) -> None:
    async with gateway.drawing():
        job = (await asked(gateway, **{**SUNSET, "fps": 60, "frames": 2})).json()
    answer = await gateway.client.get(job["links"]["result"], params={"format": "gif"})
    assert (answer.status_code, answer.json()["errors"][0]["limit"]) == (422, 50)


REFUSED = [
    ({"frames": 0}, "/frames", "frames must be at least 1", 1),
    ({"frames": -1}, "/frames", "frames must be at least 1", 1),
    ({"frames": 10**9}, "/frames", "frames must be at most 1200 (got 1000000000)", 1200),
    ({"frames": 10**30}, "/frames", "frames must be at most 1200", 1200),
    ({"frames": 2.5}, "/frames", "frames must be a whole number", None),
    ({"frames": "2"}, "/frames", "frames must be a whole number", None),
    ({"frames": True}, "/frames", "frames must be a whole number", None),
    ({"fps": 0}, "/fps", "fps must be at least 1", 1),
    ({"fps": 61}, "/fps", "fps must be at most 60", 60),
    ({"fps": 10**9}, "/fps", "fps must be at most 60", 60),
    ({"frames": 1200}, "/frames", "frames times width times height must be at most 1000000 pixels", 1_000_000),
    ({"width": 8193, "height": 1, "frames": 2}, "/width", "width must be at most 8192 for a film", 8192),
    ({"width": 800, "height": 400, "frames": 2}, "/width", "width times height must be less for a film", 64),
    ({"prompt": None}, "/prompt", "prompt is required for task text_to_video", None),
    ({"prompt": None, "task": "t2v"}, "/prompt", "task text_to_video needs a prompt", None),
    ({"task": "text_to_image"}, "/frames", "task text_to_image takes no frames", None),
    ({"task": "text_to_image", "frames": None}, "/fps", "task text_to_image takes no fps", None),
    ({"task": "unconditional_image", "prompt": None}, "/frames", "task unconditional_image takes no frames", None),
    ({"task": "image_outpainting"}, "/frames", "task image_outpainting takes no frames", None),
    ({"task": "image_animation"}, "/image", "image is required for task image_animation", None),
    ({"extend": {"left": 8}}, "/extend", "task text_to_video takes no extend", None),
    ({"task": "animation", "repaint": {"left": 0, "top": 0, "width": 1, "height": 1}}, "/repaint", "no repaint", None),
]


@pytest.mark.parametrize("path", ["/generate", "/plan"])
@pytest.mark.parametrize(("change", "pointer", "message", "limit"), REFUSED)
async def test_what_cannot_be_filmed_is_refused_with_field_and_limit(
    gateway: Any, path: str, change: dict[str, Any], pointer: str, message: str, limit: Any
) -> None:
    figures = {"extent": (1, 1, 1), "slots": 4, "pool_pages": 64}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=figures)], ttl_s=60)
    answer = await gateway.client.post(path, json={**SUNSET, **change})
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert (error["pointer"], error["limit"]) == (pointer, limit)
    assert message in error["message"]


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({"frames": 3, "width": 41}, "/width", "width must be the given picture's 40, or be left out (got 41)"),
        ({"frames": 3, "height": 16}, "/height", "height must be the given picture's 24, or be left out (got 16)"),
        ({"frames": 3, "extend": {"left": 1}}, "/extend", "takes no extend"),
        ({"frames": 0}, "/frames", "frames must be at least 1"),
        ({"task": "t2v", "prompt": "a", "frames": 3}, "/image", "image is not taken by task text_to_video"),
        ({"task": "outpainting", "extend": {"left": 1}, "fps": 3}, "/fps", "task image_outpainting takes no fps"),
    ],
)
async def test_a_picture_that_cannot_be_animated_so_is_refused(
    gateway: Any, body: dict[str, Any], pointer: str, message: str
) -> None:
    await gateway.broker.announce("fake", [gateway.model.model_copy(update={"extent": (1, 1, 1)})], ttl_s=60)
    answer = await asked(gateway, "/plan", file=png(), **body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert (error["pointer"], message in error["message"]) == (pointer, True), error


async def test_a_plan_of_a_film_counts_all_frames(gateway: Any) -> None:
    figures = {"extent": (1, 1, 1), "slots": 4, "pool_pages": 64, "page_bytes": 10, "patch_seconds": 0.5}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=figures)], ttl_s=60)
    film = (await asked(gateway, "/plan", **SUNSET)).json()
    assert (film["frames"], film["fps"], film["grid"]["frames"]) == (4, 5, 4)
    assert (film["patches_total"], film["patches_to_draw"], film["expected_seconds"]) == (24, 24, 12.0)
    assert 0 < film["pool_pages"] <= 24
    animation = (await asked(gateway, "/plan", file=png(), frames=4)).json()
    assert (animation["patches_to_draw"], animation["patches_known"], animation["rounds"]) == (18, 6, film["rounds"])


async def test_a_film_is_guided_as_a_picture_is(gateway: Any) -> None:
    film = {"task": "text_to_video", "prompt": "the sea", "frames": 2}
    async with gateway.drawing():
        scales = [
            (await gateway.generate(**body))["sampling"]["cfg_scale"]
            for body in ({}, film, {**film, "guidance_scale": 3}, {**film, "sampling": {"cfg_scale": 4}})
        ]
    assert scales == [4, 4, 3, 4]

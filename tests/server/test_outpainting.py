"""POST /generate and /plan with a picture: as JSON or a form, placed by sides, by size, or with a part to repaint."""

import asyncio
import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from workers.loop import Worker
from workers.tile_engine import TileEngine

pytestmark = pytest.mark.anyio


def picture(width: int = 40, height: int = 24, name: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, name)
    return out.getvalue()


def encoded(**size: int) -> str:
    return base64.b64encode(picture(**size)).decode()


async def send(gateway: Any, path: str = "/generate", **body: Any) -> Any:
    return await gateway.client.post(path, json={"image": encoded(), **body})


async def test_a_picture_in_base64_becomes_a_job_and_lies_in_the_store(gateway: Any) -> None:
    answer = await send(gateway, prompt="dunes", extend={"right": 24, "bottom": 8})
    job = answer.json()
    assert answer.status_code == 202, answer.text
    assert (job["task"], job["prompt"]) == ("image_outpainting", "dunes")
    assert (job["width"], job["height"], job["given"]) == (64, 32, [0, 0, 40, 24])
    assert job["order"] == "omega+zeta"
    _, taken = await gateway.worker.take()
    assert taken.request.image is None, "the picture is not in the job"
    stored = gateway.store.get(job["id"], "given")
    with Image.open(io.BytesIO(stored)) as kept, Image.open(io.BytesIO(picture())) as sent:
        assert kept.tobytes() == sent.tobytes()
    assert job["patches_total"] == taken.total == len(taken.layout.grid)


async def test_a_form_does_the_same_and_its_json_part_may_be_left_out(gateway: Any) -> None:
    body = {"extend": {"right": 24, "bottom": 8}, "seed": 5}
    as_json = (await send(gateway, "/plan", **body)).json()
    for part in ((None, json.dumps(body)), ("request.json", json.dumps(body), "application/json")):
        files = {"request": part, "image": ("a.png", picture(), "image/png")}
        answer = await gateway.client.post("/plan", files=files)
        assert answer.json() == as_json, answer.text
        assert (await gateway.client.post("/generate", files=files)).status_code == 202
    answer = await gateway.client.post("/plan", files={"image": ("a.png", picture(), "image/png")})
    assert "/extend" in answer.text, "without a request part nothing says where to extend"


async def test_a_large_picture_fits_into_a_form(gateway: Any) -> None:
    noise = Image.effect_noise((900, 900), 100)
    out = io.BytesIO()
    Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]).save(out, "PNG", compress_level=0)
    files = {"request": (None, '{"extend": {"right": 1}}'), "image": ("a.png", out.getvalue(), "image/png")}
    assert len(out.getvalue()) > 2_000_000
    assert (await gateway.client.post("/plan", files=files)).status_code == 200


ANCHORS = {
    "center": [30, 18, 70, 42],
    "top_left": [0, 0, 40, 24],
    "top": [30, 0, 70, 24],
    "right": [60, 18, 100, 42],
    "bottom_right": [60, 36, 100, 60],
}


@pytest.mark.parametrize("anchor", ANCHORS)
async def test_a_target_size_and_an_anchor_place_the_picture(gateway: Any, anchor: str) -> None:
    gateway_orders = {"orders": ("omega", "omega_star", "zeta", "zeta_star")}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=gateway_orders)], ttl_s=60)
    job = (await send(gateway, width=100, height=60, anchor=anchor)).json()
    assert (job["width"], job["height"], job["given"]) == (100, 60, ANCHORS[anchor])


async def test_a_side_that_is_not_named_stays_as_it_is(gateway: Any) -> None:
    job = (await send(gateway, width=100, anchor="left")).json()
    assert (job["width"], job["height"], job["given"]) == (100, 24, [0, 0, 40, 24])


async def test_a_part_of_the_picture_can_be_drawn_anew(gateway: Any) -> None:
    job = (await send(gateway, repaint={"left": 10, "top": 5, "width": 20, "height": 10})).json()
    assert (job["width"], job["height"], job["given"]) == (40, 24, [0, 0, 40, 24])
    plan = (await send(gateway, "/plan", repaint={"left": 10, "top": 5, "width": 20, "height": 10})).json()
    assert (plan["patches_to_draw"], plan["patches_known"]) == (2, 4)


async def test_from_a_form_to_the_result_known_pixels_stay_byte_for_byte(gateway: Any) -> None:
    """The whole walk: gateway, queue, store and a worker with tiles, over HTTP."""
    engine = TileEngine(patch_px=16, patch_tokens=2)
    worker = Worker(gateway.broker, gateway.store, engine, "tiles", idle_wait_s=0.02)
    working = asyncio.create_task(worker.run())
    await gateway.until(lambda: "tiles" in gateway.broker._workers)
    body = {"model": "tile", "extend": {"left": 20, "right": 33, "top": 7, "bottom": 50}}
    files = {"request": (None, json.dumps(body)), "image": ("a.jpg", picture(name="JPEG"), "image/jpeg")}
    answer = await gateway.client.post("/generate", files=files, headers={"Prefer": "wait=20"})
    job = answer.json()
    assert (answer.status_code, job["status"]) == (200, "succeeded"), answer.text
    events = await gateway.events(job)
    started = next(event["data"] for event in events if event["event"] == "job.started")
    assert started["given"] == job["given"] == [20, 7, 60, 31]
    result = await gateway.client.get(job["links"]["result"])
    with Image.open(io.BytesIO(result.content)) as made, Image.open(io.BytesIO(picture(name="JPEG"))) as sent:
        assert made.size == (93, 81)
        assert made.crop((20, 7, 60, 31)).tobytes() == sent.convert("RGB").tobytes()
    [announced] = [model for model in await gateway.broker.models() if model.name == "tile"]
    worker.drain()
    await working
    assert announced.page_bytes == 32


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/extend", "extend or repaint, or mask, or width and height, must be given (got none of them)"),
    ({"extend": {"left": 1}, "width": 90}, "/extend", "must be given (got extend and width and height)"),
    ({"extend": {}}, "/extend", "extend must add at least 1 pixel to the given picture"),
    ({"extend": {"left": 0, "right": 0}}, "/extend", "extend must add at least 1 pixel"),
    ({"extend": {"right": 65_536}}, "/extend", "extend must make no side longer than 65536 pixels (got 65576 x 24)"),
    ({"extend": {"right": 60_000}}, "/extend", "must make a picture of at most 1000000 pixels (got 60040 x 24 = 144"),
    ({"width": 40, "height": 24}, "/width", "width must add at least 1 pixel to the given picture"),
    ({"width": 39, "height": 30}, "/width", "width must be at least the given picture's 40 (got 39)"),
    ({"width": 60_000}, "/width", "width times height must be at most 1000000 pixels"),
    ({"extend": {"left": 8}}, "/order", "the picture grows on the left, which takes omega_star or zeta_star"),
    ({"extend": {"bottom": 8}, "order": "omega_star"}, "/order", "must be auto or one that model tiny was trained on"),
    (
        {"repaint": {"left": 30, "top": 0, "width": 11, "height": 1}},
        "/repaint",
        "must lie inside the given picture of 40",
    ),
    ({"task": "text_to_image", "prompt": "a", "extend": {"left": 1}}, "/image", "task text_to_image takes no image"),
    ({"extend": {"left": 1}, "image": "%"}, "/image", "image must be a PNG, JPEG, WebP or AVIF file in base64"),
    ({"extend": {"left": 1}, "image": ""}, "/image", "got an empty file"),
    ({"extend": {"left": 1}, "prompt": "a\0"}, "/prompt", "must hold no control characters"),
]


@pytest.mark.parametrize("path", ["/generate", "/plan"])
@pytest.mark.parametrize(("body", "pointer", "message"), BAD)
async def test_what_cannot_be_extended_is_refused_with_field_and_limit(
    gateway: Any, path: str, body: dict[str, Any], pointer: str, message: str
) -> None:
    answer = await send(gateway, path, **body)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    assert await gateway.broker.depth() == 0
    assert not gateway.store.path("x").parent.exists(), "nothing is kept of a refused request"


FILE = ("a.png", picture(), "image/png")
BAD_FORMS: list[tuple[dict[str, Any], int, str]] = [
    ({"files": {"image": ("a.png", b"", "image/png")}}, 422, "got an empty file"),
    ({"files": {"image": ("a.png", picture(name="JPEG"), "image/png")}}, 422, "got image/png that holds JPEG"),
    ({"files": {"image": FILE, "photo": FILE}}, 422, "photo is not a known part"),
    ({"files": {"image": FILE, "a": FILE, "b": FILE, "c": FILE}}, 400, "Too many files"),
    ({"files": {"image": FILE, "request": (None, "{")}}, 400, "The body is not JSON"),
    ({"files": {"image": FILE, "request": (None, "[]")}}, 422, "must be a JSON object"),
    ({"files": {"image": FILE, "request": (None, '{"image": "aaaa", "width": 90}')}}, 422, "must be sent once"),
    ({"files": {"image": FILE, "request": (None, '{"task": "t2i", "prompt": "a"}')}}, 422, "is not taken by task"),
    ({"files": {"image": (None, "abc")}}, 422, "image must be a file, with a filename"),
    ({"content": b"--x\r\nno form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "The form"),
    ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, 400, "The form cannot be read"),
    ({"content": b"x" * 22_100_000, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 413, "22020096"),
]


@pytest.mark.parametrize(("sent", "status", "message"), BAD_FORMS)
async def test_a_bad_form_is_refused_politely(gateway: Any, sent: dict[str, Any], status: int, message: str) -> None:
    answer = await gateway.client.post("/generate", **sent)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert message in answer.text


async def test_a_full_queue_keeps_nothing_of_the_picture(gateway: Any) -> None:
    gateway.broker._limits = type(gateway.broker._limits)(queue_max=0)
    answer = await send(gateway, extend={"right": 8})
    assert answer.status_code == 429
    assert not list(gateway.store.path("x").parent.glob("*"))


async def test_a_plan_says_what_a_request_would_do_and_cost(gateway: Any) -> None:
    figures = {"slots": 4, "pool_pages": 64, "page_bytes": 1000, "guided_pages": 2, "patch_seconds": 0.25}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=figures)], ttl_s=60)
    answer = await send(gateway, "/plan", prompt="dunes", extend={"right": 24, "bottom": 8}, seed=1)
    assert answer.status_code == 200
    assert answer.json() == {
        "task": "image_outpainting",
        "model": "tiny",
        "n": 1,
        "width": 64,
        "height": 32,
        "frames": 1,
        "fps": None,
        "given": [0, 0, 40, 24],
        "order": "omega+zeta",
        "grid": {"frames": 1, "rows": 3, "columns": 5, "patch_px": 16, "origin": [8, 8]},
        "phases": [
            {"order": "omega", "frames": [0, 1], "rows": [0, 2], "columns": [2, 5], "draws": 4, "replays": 2},
            {"order": "zeta", "frames": [0, 1], "rows": [1, 3], "columns": [0, 5], "draws": 5, "replays": 5},
        ],
        "patches_total": 15,
        "patches_to_draw": 9,
        "patches_known": 6,
        "rounds": 6 + 7,
        "pool_pages": 2 * (6 + 3),
        "pool_bytes": 18000,
        "expected_seconds": 2.2,
    }
    assert await gateway.broker.depth() == 0


async def test_a_plan_counts_one_page_a_patch_with_guidance_in_one_pass(gateway: Any) -> None:
    figures = {"slots": 4, "pool_pages": 64, "page_bytes": 1000, "guided_pages": 2, "distilled_scale": 5.0}
    await gateway.broker.announce("fake", [gateway.model.model_copy(update=figures)], ttl_s=60)
    pages = {}
    for distilled in (False, True):
        body = {"prompt": "dunes", "sampling": {"distilled": distilled}}
        pages[distilled] = (await gateway.client.post("/plan", json=body)).json()["pool_pages"]
    assert pages[False] == 2 * pages[True] > 0


async def test_a_plan_agrees_with_the_job_it_would_become(gateway: Any) -> None:
    for body in ({"prompt": "a lake", "width": 100, "height": 33}, {"width": 16, "height": 160}, {"order": "zeta"}):
        plan = (await gateway.client.post("/plan", json=body)).json()
        job = (await gateway.client.post("/generate", json=body)).json()
        for name in ("task", "model", "width", "height", "order", "patches_total", "given"):
            assert plan.get(name, plan.get(name)) == job[name]
        assert plan["patches_to_draw"] == job["patches_total"] == plan["phases"][0]["draws"]
        assert plan["expected_seconds"] is None, "no worker has said how fast it is"
        assert plan["pool_pages"] is None

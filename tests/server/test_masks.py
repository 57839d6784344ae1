"""Masks: which pixels of a given picture are drawn anew, as JSON or a form; every bad one a refusal that names it."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.errors import InvalidRequest
from server.masks import read_mask
from server.uploads import GivenPicture, Upload

pytestmark = pytest.mark.anyio

PICTURE = GivenPicture(b"", 40, 24)


def png(image: Image.Image, name: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, name)
    return out.getvalue()


def picture() -> bytes:
    return png(Image.linear_gradient("L").resize((40, 24)).convert("RGB"))


def painted(*spots: tuple[int, int, int, int], mode: str = "L", size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Black, with white boxes of left, top, right, bottom."""
    image = Image.new("L", size)
    for spot in spots:
        image.paste(255, spot)
    return image.convert(mode)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_mask_makes_a_job_of_what_is_white_in_it(gateway: Any) -> None:
    """Patches have 16 pixels: of the six that the rectangle around the two spots touches, two hold white."""
    mask = png(painted((2, 3, 6, 9), (34, 18, 38, 20)))
    body = {"seed": 5, "prompt": "dunes"}
    as_json = {**body, "image": text(picture()), "mask": text(mask)}
    files = {"request": (None, json.dumps(body)), "image": ("a", picture(), "image/png"), "mask": ("b", mask, "")}
    plans = [
        (await gateway.client.post("/plan", json=as_json)).json(),
        (await gateway.client.post("/plan", files=files)).json(),
    ]
    assert plans[0] == plans[1]
    assert (plans[0]["patches_total"], plans[0]["patches_to_draw"], plans[0]["patches_known"]) == (6, 2, 4)
    job = (await gateway.client.post("/generate", files=files)).json()
    assert job["task"] == "image_outpainting"
    assert job["repaint"] == {"left": 2, "top": 3, "width": 36, "height": 17}
    assert job["given"] == [0, 0, 40, 24]
    _, taken = await gateway.worker.take()
    assert (taken.masked, taken.spared, taken.request.mask) == (True, (1, 2, 3, 4), None)
    kept = await gateway.client.get(job["links"]["mask"])
    assert kept.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(kept.content)) as image:
        assert np.array_equal(np.asarray(image.convert("L")), np.asarray(painted((2, 3, 6, 9), (34, 18, 38, 20))))


async def test_a_job_s_picture_takes_a_mask_too(gateway: Any) -> None:
    source = await gateway.generate(width=40, height=24)
    drawn = await gateway.worker.draw()
    gateway.store.put(drawn.id, picture())
    body = {"job": source["id"], "mask": text(png(painted((0, 0, 4, 4))))}
    assert (await gateway.client.post("/plan", json=body)).json()["patches_to_draw"] == 1


async def test_a_job_without_a_mask_has_none_to_give(gateway: Any) -> None:
    job = await gateway.generate()
    assert job["links"]["mask"] is None
    answer = await gateway.client.get(f"{job['links']['self']}/mask")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_given_picture")


async def test_another_mask_is_another_request_to_an_idempotency_key(gateway: Any) -> None:
    codes = []
    for spot in ((0, 0, 4, 4), (0, 0, 4, 4), (0, 0, 4, 5)):
        files = {"image": ("a", picture(), "image/png"), "mask": ("b", png(painted(spot)), "image/png")}
        answer = await gateway.client.post("/generate", files=files, headers={"Idempotency-Key": "a"})
        codes.append(answer.status_code)
    assert codes == [202, 202, 422]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_kind_of_picture_is_a_mask(mode: str) -> None:
    data = png(painted((0, 0, 16, 8), mode=mode), "JPEG" if mode == "CMYK" else "PNG")
    mask = read_mask(Upload(data, field="mask"), PICTURE, 960)
    assert (mask.area.left, mask.area.top, mask.area.width, mask.area.height) == (0, 0, 16, 8)
    assert np.asarray(mask.image).sum() == 128


def test_what_is_transparent_is_drawn_anew() -> None:
    image = Image.new("RGBA", (40, 24), "black")
    image.paste((0, 0, 0, 0), (5, 6, 7, 8))
    assert read_mask(Upload(png(image), field="mask"), PICTURE, 960).area.model_dump() == {
        "left": 5,
        "top": 6,
        "width": 2,
        "height": 2,
    }


SPOT = (0, 0, 4, 4)
REFUSED = [
    (b"", {}, "must be a PNG, JPEG, WebP or AVIF file (got an empty file)"),
    (b"no picture", {}, "must be a PNG, JPEG, WebP or AVIF file, whole and undamaged"),
    (png(painted(SPOT))[:60], {}, "must be whole: the file is cut off or damaged"),
    (png(painted(SPOT, size=(24, 40))), {}, "as large as the given picture, 40 x 24 pixels (got 24 x 40)"),
    (png(painted(SPOT, size=(400, 24))), {}, "must hold at most 960 pixels (got 400 x 24)"),
    (png(painted()), {}, "must be white where the picture is drawn anew (got one without a white pixel)"),
    (png(painted(SPOT)), {"extend": {"left": 8}}, "left out where extend, repaint, or width and height are given"),
    (png(painted(SPOT)), {"width": 80}, "left out where extend, repaint, or width and height are given"),
    (png(painted(SPOT)), {"frames": 2}, "is not taken by task image_animation"),
    (png(painted(SPOT)), {"mask": "aaaa"}, "must be sent once"),
]


@pytest.mark.parametrize("path", ["/generate", "/plan"])
@pytest.mark.parametrize(("mask", "body", "message"), REFUSED)
async def test_what_is_no_mask_is_refused_and_nothing_is_kept(
    gateway: Any, path: str, mask: bytes, body: dict[str, Any], message: str
) -> None:
    files = {
        "request": (None, json.dumps(body)),
        "image": ("a", picture(), "image/png"),
        "mask": ("b", mask, "image/png"),
    }
    answer = await gateway.client.post(path, files=files)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/mask"}
    assert await gateway.broker.depth() == 0
    assert gateway.store.old(-1) == set()


async def test_a_mask_without_a_picture_asks_for_the_picture(gateway: Any) -> None:
    answer = await gateway.client.post("/generate", json={"mask": text(png(painted(SPOT)))})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/image")


def test_a_refusal_names_the_field_that_the_file_is() -> None:
    with pytest.raises(InvalidRequest, match=r"^mask must be at most"):
        read_mask(Upload(bytes(21 * 2**20), field="mask"), PICTURE, 960)

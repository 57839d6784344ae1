"""Results in three formats with their making written inside, and jobs that have none."""

import io
from typing import Any

import pytest
from PIL import Image

from jobs.events import JobFailed
from server.images import ResultFormat, convert, read_metadata

pytestmark = pytest.mark.anyio

PROMPT = 'snowy mountains ⛰️ at "sunset" <with> a lake & 𝄞'


@pytest.mark.parametrize("way", ["format", "accept"])
@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
async def test_a_result_says_in_every_format_how_it_was_made(gateway: Any, kind: str, way: str) -> None:
    job = await gateway.finished(prompt=PROMPT, seed=2**32 - 1)
    asked: dict[str, Any] = (
        {"params": {"format": kind}} if way == "format" else {"headers": {"Accept": f"image/{kind}"}}
    )
    answer = await gateway.client.get(job["links"]["result"], **asked)
    assert answer.headers["content-type"] == f"image/{kind}"
    with Image.open(io.BytesIO(answer.content)) as image:
        made = read_metadata(image)
        assert (image.format, image.size) == (kind.upper(), (64, 16))
    assert made.pop("parameters")["width"] == 64
    assert made == {
        "prompt": PROMPT,
        "seed": 2**32 - 1,
        "order": job["order"],
        "model": "tiny",
        "version": gateway.model.version,
    }


async def test_png_is_the_default_and_webp_has_the_same_pixels(gateway: Any) -> None:
    job = await gateway.finished()
    png = await gateway.client.get(job["links"]["result"], headers={"Accept": "*/*"})
    webp = await gateway.client.get(job["links"]["result"], params={"format": "webp"})
    assert png.headers["content-type"] == "image/png"
    assert png.content == gateway.store.get(job["id"])
    with Image.open(io.BytesIO(png.content)) as one, Image.open(io.BytesIO(webp.content)) as other:
        assert one.tobytes() == other.convert("RGB").tobytes()


def test_a_picture_from_elsewhere_has_no_metadata() -> None:
    for kind in ("PNG", "WEBP", "JPEG"):
        out = io.BytesIO()
        Image.new("RGB", (4, 4)).save(out, kind)
        assert read_metadata(Image.open(out)) == {}
        if kind == "PNG":
            assert read_metadata(Image.open(io.BytesIO(convert(out, ResultFormat.JPEG)))) == {}


def test_the_longest_prompt_fits_into_every_format() -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    prompt = "\U0001f3d4" * 2000
    text.add_itxt("nuwa:prompt", prompt)
    text.add_itxt("parameters", '{"prompt": "' + prompt + '"}')
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG", pnginfo=text)
    for kind in (ResultFormat.WEBP, ResultFormat.JPEG):
        with Image.open(io.BytesIO(convert(out, kind))) as image:
            assert read_metadata(image)["prompt"] == prompt


async def test_a_png_can_be_had_in_parts_and_is_never_read_whole(gateway: Any, monkeypatch: Any) -> None:
    job = await gateway.finished()
    png = gateway.store.get(job["id"])
    monkeypatch.delattr("jobs.store.FolderStore.get")
    whole = await gateway.client.get(job["links"]["result"])
    assert (whole.content, whole.headers["accept-ranges"]) == (png, "bytes")
    for asked, start, stop in (("0-99", 0, 100), ("150-249", 150, 250), ("-7", len(png) - 7, len(png))):
        part = await gateway.client.get(job["links"]["result"], headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, png[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(png)}"
        assert part.headers["etag"] == whole.headers["etag"]
    beyond = await gateway.client.get(job["links"]["result"], headers={"Range": f"bytes={len(png)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(png)}")
    assert beyond.json()["code"] == "range_not_satisfiable"
    senseless = await gateway.client.get(job["links"]["result"], headers={"Range": "lines=1-2"})
    assert (senseless.status_code, senseless.json()["code"]) == (400, "bad_request")
    for answer in (beyond, senseless):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"


async def test_a_part_of_a_file_that_changed_since_is_the_whole_file(gateway: Any) -> None:
    job = await gateway.finished()
    whole = await gateway.client.get(job["links"]["result"])
    for tag, status in ((whole.headers["etag"], 206), ('"stale"', 200)):
        headers = {"Range": "bytes=0-99", "If-Range": tag}
        answer = await gateway.client.get(job["links"]["result"], headers=headers)
        assert (answer.status_code, len(answer.content)) == (status, 100 if status == 206 else len(whole.content))


async def test_a_picture_too_large_to_convert_is_png_alone(gateway: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("server.images.CONVERT_MAX_PIXELS", 64 * 16 - 1)
    job = await gateway.finished()
    for kind in ("webp", "jpeg"):
        asked = await gateway.client.get(job["links"]["result"], params={"format": kind})
        assert (asked.status_code, asked.json()["errors"][0]["pointer"]) == (422, "/format")
        assert asked.json()["errors"][0]["limit"] == 64 * 16 - 1
        preferred = await gateway.client.get(job["links"]["result"], headers={"Accept": f"image/{kind}, */*;q=0.8"})
        assert (preferred.status_code, preferred.headers["content-type"]) == (200, "image/png")


async def test_an_unchanged_result_is_304(gateway: Any) -> None:
    job = await gateway.finished()
    tags = set()
    for kind in ("png", "webp", "jpeg"):
        params = {"format": kind}
        tag = (await gateway.client.get(job["links"]["result"], params=params)).headers["etag"]
        tags.add(tag)
        again = await gateway.client.get(
            job["links"]["result"], params=params, headers={"If-None-Match": f'"x", W/{tag}'}
        )
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert len(tags) == 3


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A lake, at dawn!", 'filename="a-lake-at-dawn.png"'),
        ("海 am Meer", "filename=\"am-meer.png\"; filename*=UTF-8''%E6%B5%B7-am-meer.png"),
        ("../../etc/passwd", 'filename="etc-passwd.png"'),
        ("\u202e", 'filename="nuwa.png"'),
        (None, 'filename="nuwa.png"'),
    ],
)
async def test_a_download_is_named_after_its_prompt(gateway: Any, prompt: str | None, name: str) -> None:
    if prompt == "\u202e":
        prompt = "\u202e!"
    job = await gateway.finished(prompt=prompt)
    answer = await gateway.client.get(job["links"]["result"], params={"download": 1})
    assert answer.headers["content-disposition"] == f"attachment; {name}"
    assert "content-disposition" not in (await gateway.client.get(job["links"]["result"])).headers


async def test_an_unfinished_result_is_409_with_its_progress(gateway: Any) -> None:
    job = await gateway.generate()
    lease, _ = await gateway.worker.take()
    await gateway.worker.patch(lease, 0, 4)
    answer = await gateway.client.get(job["links"]["result"])
    assert (answer.status_code, answer.json()["code"]) == (409, "result_not_ready")
    assert answer.json()["detail"] == "The job is running: 1 of 4 patches are done."
    assert int(answer.headers["retry-after"]) > 0


async def test_a_failed_canceled_or_lost_result_is_410(gateway: Any) -> None:
    failed = await gateway.generate()
    lease, _ = await gateway.worker.take()
    await gateway.worker.write(lease, JobFailed(code="out_of_memory", message="The device is full."))
    canceled = await gateway.generate()
    await gateway.client.delete(canceled["links"]["self"])
    lost = await gateway.finished()
    gateway.store.delete(lost["id"])
    for job in (failed, canceled, lost):
        answer = await gateway.client.get(job["links"]["result"])
        assert (answer.status_code, answer.json()["code"]) == (410, "result_gone")
    assert "The device is full." in (await gateway.client.get(failed["links"]["result"])).json()["detail"]
    assert (await gateway.client.get(failed["links"]["self"])).json()["error"] == "The device is full."


async def test_a_format_that_cannot_hold_the_picture_is_422(gateway: Any) -> None:
    job = await gateway.generate(width=16_400, height=1)
    await gateway.worker.finish(*await gateway.worker.take())
    answer = await gateway.client.get(job["links"]["result"], params={"format": "webp"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/format")
    assert answer.json()["errors"][0]["limit"] == 16_383
    assert (await gateway.client.get(job["links"]["result"], params={"format": "jpeg"})).status_code == 200


async def test_cancel_is_idempotent_and_leaves_ended_jobs_alone(gateway: Any) -> None:
    queued = await gateway.generate()
    for _ in range(2):
        answer = await gateway.client.delete(queued["links"]["cancel"])
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    done = await gateway.finished()
    assert (await gateway.client.delete(done["links"]["cancel"])).json()["status"] == "succeeded"
    running = await gateway.generate()
    lease, _ = await gateway.worker.take()
    assert (await gateway.client.delete(running["links"]["cancel"])).status_code == 200
    assert await gateway.broker.cancel_requested(lease)

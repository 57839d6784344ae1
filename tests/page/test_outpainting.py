"""A picture of one's own in the browser: brought, extended at its edges, repainted in part, priced, refused."""

import base64
import io
import re

import numpy as np
import pytest
from page_gateway import PageGateway
from page_jobs import PATCH_PX, paint_landscape
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.settings import GatewaySettings

GIVEN = (192, 128)  # pixels: 3 x 2 patches


def file_of(width: int = GIVEN[0], height: int = GIVEN[1], kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    paint_landscape(width, height, 3).save(out, kind, **options)
    return out.getvalue()


def pick(page: Page, data: bytes, name: str = "my lake.png", media_type: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": data})


def bring(page: Page, data: bytes, how: str) -> None:
    """Drop or paste a file, as the browser reports it."""
    transfer = page.evaluate_handle(
        """data => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
            transfer.items.add(new File([bytes], "my lake.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(data).decode(),
    )
    if how == "drop":
        page.dispatch_event("#prompt", "dragover", {"dataTransfer": transfer})
        expect(page.locator(".drop-note")).to_be_visible()
        page.dispatch_event("#prompt", "drop", {"dataTransfer": transfer})
        expect(page.locator(".drop-note")).to_be_hidden()
    else:
        page.evaluate(
            """clipboardData => document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }))""",
            transfer,
        )


def edge(page: Page, side: str) -> Locator:
    return page.get_by_role("slider", name=f"Extend at the {side}")


def drag(page: Page, grip: Locator, x: float, y: float) -> None:
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + x / 2, middle[1] + y / 2)
    page.mouse.move(middle[0] + x, middle[1] + y)
    page.mouse.up()


def shown_scale(page: Page) -> float:
    box = page.locator("#easel-picture").bounding_box()
    assert box is not None
    return box["width"] / GIVEN[0]


def has_status(page: Page, status: str) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-status", status)


def pixels(page: Page, canvas: str = "#canvas") -> np.ndarray:
    shown = page.locator(canvas).evaluate("canvas => canvas.toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))))


def own() -> np.ndarray:
    return np.asarray(paint_landscape(*GIVEN, 3))


def test_a_dropped_picture_is_extended_by_its_edges_and_patches_appear_around_it(
    page: Page, gateway: PageGateway
) -> None:
    gateway.hold_after = 8
    bring(page, file_of(), "drop")
    expect(page.locator("#easel")).to_be_visible()
    assert np.array_equal(pixels(page, "#easel-picture")[..., :3], own())
    expect(page.locator("#sizes")).to_be_hidden()
    right, left, top = edge(page, "right"), edge(page, "left"), edge(page, "top")
    expect(right).to_have_attribute("aria-valuenow", "64")  # a first suggestion
    expect(page.locator("#estimate")).to_contain_text("2 patches · 4 rounds")

    drag(page, left, -70 * shown_scale(page), 0)
    expect(left).to_have_attribute("aria-valuetext", "64 pixels")
    expect(left).to_have_text("+64 px")
    expect(page.locator("#extend-left")).to_have_value("64")
    right.press("Home")
    top.press("ArrowUp")
    top.press("PageUp")
    top.press("ArrowDown")
    expect(page.locator("#extend-top")).to_have_value("256")
    page.uncheck("#snap")
    top.press("Home")
    top.press("ArrowUp")
    expect(top).to_have_text("+1 px")
    page.fill("#extend-top", "0")
    page.fill("#extend-bottom", "50")
    expect(edge(page, "bottom")).to_have_text("+50 px")
    expect(page.locator("#facts")).to_contain_text("finished 256 × 178")
    expect(page.locator("#estimate")).to_have_text(re.compile("^6 patches"))
    page.click("#estimate")
    expect(page.locator("#plan-facts")).to_contain_text("right to left, then top to bottom")
    expect(page.locator("#plan-facts")).to_contain_text("6 more are yours already")

    page.fill("#prompt", "hills")
    page.fill("#seed", "9")
    page.click("#generate")
    expect(page.locator("#canvas")).to_have_attribute("data-done", "8")
    expect(page.locator("#easel")).to_be_hidden()
    [body], [sent] = gateway.posted, gateway.files
    assert body["extend"] == {"left": 64, "right": 0, "top": 0, "bottom": 50}
    assert (body["task"], body["prompt"], body["seed"], "width" in body) == ("image_outpainting", "hills", 9, False)
    assert sent == file_of(), "the file itself, not a copy"
    drawing = pixels(page)
    assert np.array_equal(drawing[:128, 64:, :3], own())
    assert (drawing[..., 3] == 255).sum() == 192 * 128 + 2 * PATCH_PX * PATCH_PX, "and two patches beside it"
    gateway.hold_after = None
    has_status(page, "succeeded")
    finished = np.asarray(gateway.jobs["job-1"].picture())
    assert np.array_equal(pixels(page)[..., :3], finished)
    assert np.array_equal(finished[:128, 64:], own())


def test_the_given_picture_is_seen_while_the_job_still_waits(page: Page, gateway: PageGateway) -> None:
    gateway.ahead = 2
    pick(page, file_of())
    page.click("#generate")
    has_status(page, "queued")
    drawing = pixels(page)
    assert np.array_equal(drawing[:, :192, :3], own())
    assert not drawing[:, 192:, 3].any()


def test_what_is_brushed_over_is_painted_anew_and_again_with_another_seed(page: Page, gateway: PageGateway) -> None:
    pick(page, file_of())
    page.click("#tool-brush")
    page.click("#generate")
    expect(page.locator("#mask-error")).to_have_text("Nothing is marked yet: paint over the part to make anew.")
    page.locator("#brush-px").fill("20")
    expect(page.locator("#brush-px-value")).to_have_text("20 px")
    page.locator("#easel-strokes").scroll_into_view_if_needed()
    scale, box = shown_scale(page), page.locator("#easel-strokes").bounding_box()
    assert box is not None
    for stroke in (((15, 15), (45, 45)), ((100, 20), (100, 20)), ((150, 100), (170, 100))):
        (x, y), (to_x, to_y) = stroke
        page.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
        page.mouse.down()
        page.mouse.move(box["x"] + to_x * scale, box["y"] + to_y * scale, steps=4)
        page.mouse.up()
    expect(page.locator("#estimate")).to_have_text(re.compile("^3 patches"))
    page.click("#brush-undo")
    expect(page.locator("#estimate")).to_have_text(re.compile("^2 patches"))
    assert pixels(page, "#easel-strokes")[30, 30, 3] > 200
    assert pixels(page, "#easel-strokes")[100, 160, 3] == 0
    page.click("#generate")
    has_status(page, "succeeded")
    mask = np.asarray(gateway.jobs["job-1"].mask)
    assert mask.shape == (GIVEN[1], GIVEN[0])
    assert mask[30, 30]
    assert mask[20, 100], "a dot is a stroke, too"
    assert not mask[:, 120:].any()
    given = np.asarray(Image.open(io.BytesIO(file_of())))
    changed = (pixels(page)[..., :3] != given).any(axis=2)
    assert changed[mask].any()
    assert not changed[~mask].any()
    page.reload()
    page.click("#again-seed")
    expect(page.locator("#canvas")).to_have_attribute("data-status", "succeeded")
    expect(page).to_have_url(re.compile("job=job-2"))
    assert np.array_equal(np.asarray(gateway.jobs["job-2"].mask), mask)
    assert not {"repaint", "extend", "width"} & set(gateway.posted[1])


def test_a_rectangle_on_a_finished_picture_is_painted_anew(page: Page, gateway: PageGateway) -> None:
    page.fill("#prompt", "hills")
    page.locator('label.size:has(input[value="256x256"])').click()
    page.click("#generate")
    has_status(page, "succeeded")
    first = pixels(page)[..., :3]
    gateway.hold_after = 15  # 12 of 16 patches are given
    page.click("#repaint-result")
    expect(page.locator("#easel-area")).to_be_visible()
    assert np.array_equal(pixels(page, "#easel-picture")[..., :3], first)
    scale = shown_scale(page) * GIVEN[0] / 256
    box = page.locator("#easel-picture").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10 * scale, box["y"] + 10 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 70 * scale, box["y"] + 110 * scale)
    page.mouse.up()
    for name, px in {"left": 0, "top": 0, "width": 128, "height": 128}.items():
        expect(page.locator(f"#repaint-{name}")).to_have_value(str(px))
    area = page.locator("#easel-area")
    area.press("ArrowRight")
    area.press("Shift+ArrowLeft")
    area.press("Shift+ArrowLeft")  # no smaller than a pixel
    page.fill("#repaint-width", "128")
    drag(page, area, 0, 66 * scale)
    expect(area).to_have_attribute("aria-label", re.compile("128 by 128 pixels, 64 from the left, 64 from the top"))
    expect(page.locator("#estimate")).to_have_text(re.compile("^4 patches"))
    expect(page.locator("#prompt")).to_have_value("hills")
    page.click("#generate")
    expect(page.locator("#canvas")).to_have_attribute("data-done", "15")
    assert gateway.posted[1]["repaint"] == {"left": 64, "top": 64, "width": 128, "height": 128}
    opaque = pixels(page)[..., 3]
    assert opaque[:64].all()
    assert (opaque == 0).sum() == PATCH_PX * PATCH_PX, "one patch of the hole is still to come"
    gateway.hold_after = None
    has_status(page, "succeeded")
    second = pixels(page)[..., :3]
    changed = (first != second).any(axis=2)
    assert changed[64:192, 64:192].any()
    changed[64:192, 64:192] = False
    assert not changed.any()


def test_a_finished_picture_is_extended_and_made_again_even_after_a_reload(page: Page, gateway: PageGateway) -> None:
    page.fill("#prompt", "hills")
    page.locator('label.size:has(input[value="256x256"])').click()
    page.click("#generate")
    has_status(page, "succeeded")
    first = pixels(page)[..., :3]
    page.click("#extend-result")
    expect(edge(page, "right")).to_have_attribute("aria-valuenow", "128")
    page.click("#generate")
    has_status(page, "succeeded")
    expect(page.locator("#canvas")).to_have_attribute("data-total", "24")
    assert np.array_equal(pixels(page)[:, :256, :3], first)
    page.reload()
    has_status(page, "succeeded")
    page.click("#again-seed")  # the given picture is cut out of the result
    expect(page).to_have_url(re.compile("#job=job-3$"))
    has_status(page, "succeeded")
    again = pixels(page)[..., :3]
    assert np.array_equal(again[:, :256], first)
    assert (again[:, 256:] != np.asarray(gateway.jobs["job-2"].picture())[:, 256:]).any()
    assert gateway.posted[2]["extend"] == gateway.posted[1]["extend"]
    page.click("#reuse")
    expect(page.locator("#extend-right")).to_have_value("128")
    expect(page.locator("#prompt")).to_have_value("hills")
    edge(page, "left").press("ArrowLeft")
    expect(page.locator("#canvas")).to_be_hidden()
    page.click("#picture-remove")
    expect(page.locator("#sizes")).to_be_visible()
    expect(page.locator("#wall")).to_have_attribute("data-state", "empty")


def test_a_picture_too_large_for_the_server_is_made_smaller_only_by_choice(page: Page, gateway: PageGateway) -> None:
    gateway.gateway.settings = GatewaySettings(max_pixels=400_000)
    page.reload()
    expect(page.locator("#estimate")).to_contain_text("32 patches")
    asked = len(gateway.planned)
    bring(page, file_of(1024, 512), "paste")
    said = page.locator("#image-error")
    expect(said).to_contain_text("Too large: this server takes up to 400,000 pixels and 20 MiB")
    expect(page.locator("#picture-size option")).to_have_text(["1024 × 512, too large", "512 × 256", "256 × 128"])
    page.click("#generate")
    expect(said).to_be_visible()
    assert gateway.posted == []
    assert len(gateway.planned) == asked
    page.select_option("#picture-size", "512x256")
    expect(said).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("yours 512 × 256")
    page.fill("#extend-right", "64")
    expect(page.locator("#estimate")).to_contain_text("4 patches")
    page.click("#generate")
    has_status(page, "succeeded")
    assert gateway.files[0] is not None
    with Image.open(io.BytesIO(gateway.files[0])) as sent:
        assert sent.size == (512, 256)
    # What the server alone knows is told where it belongs, before anything is started.
    page.fill("#extend-right", "3000")
    expect(page.locator("#extend-error")).to_contain_text(
        "must make a picture of at most 400000 pixels (got 3512 x 256"
    )
    expect(page.locator("#extend-left")).to_have_attribute("aria-invalid", "true")
    page.fill("#extend-right", "64")
    expect(page.locator("#estimate")).to_contain_text("4 patches")
    expect(page.locator("#extend-error")).to_be_hidden()
    page.fill("#extend-right", "0")
    page.click("#generate")
    expect(page.locator("#extend-error")).to_contain_text("Nothing is added yet")
    expect(page.locator("#extend-left")).to_be_focused()
    assert len(gateway.posted) == 1


def test_files_that_are_no_use_are_refused_in_words_and_an_order_at_its_field(page: Page, gateway: PageGateway) -> None:
    said = page.locator("#image-error")
    pick(page, b"not a picture", "notes.txt", "text/plain")
    expect(said).to_contain_text("“notes.txt” is not a picture that this browser can show")
    expect(page.locator("#easel")).to_be_hidden()
    pick(page, file_of(kind="BMP"), "hills.bmp", "image/bmp")
    expect(said).to_contain_text("image must be a PNG, JPEG, WebP or AVIF file")
    page.click("#generate")
    expect(page.locator("#picture-other")).to_be_focused()
    assert list(gateway.jobs) == []
    pick(page, file_of(kind="JPEG"), "named wrongly.png")
    expect(said).to_be_hidden()
    expect(page.locator("#estimate")).to_contain_text("2 patches")
    page.click("#more summary")
    page.select_option("#order", "omega_star")
    expect(page.locator("#order-error")).to_contain_text("the picture grows on the right, which takes omega or zeta")
    edge(page, "right").press("Home")
    edge(page, "left").press("ArrowLeft")
    expect(page.locator("#order-error")).to_be_hidden()
    expect(page.locator("#estimate")).to_contain_text("2 patches")
    page.click("#generate")
    has_status(page, "succeeded")
    assert gateway.posted[-1]["order"] == "omega_star"


def test_a_photograph_is_upright_and_the_price_is_asked_without_sending_it_again(
    page: Page, gateway: PageGateway
) -> None:
    photograph = paint_landscape(512, 256, 3).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    out = io.BytesIO()
    photograph.save(out, "JPEG", exif=exif, quality=98)
    expect(page.locator("#estimate")).to_contain_text("32 patches")
    asked = len(gateway.planned)
    pick(page, out.getvalue(), "photo.jpg", "image/jpeg")
    expect(page.locator("#facts")).to_contain_text("yours 512 × 256")
    near = np.abs(pixels(page, "#easel-picture")[..., :3].astype(int) - np.asarray(paint_landscape(512, 256, 3)))
    assert near.mean() < 3
    expect(page.locator("#estimate")).to_contain_text("12 patches")
    for _ in range(3):
        edge(page, "right").press("ArrowRight")
    expect(page.locator("#estimate")).to_contain_text("24 patches")
    questions = gateway.planned[asked:]
    assert questions[0][1] == out.getvalue(), "the server has looked at the file itself"
    assert 2 <= len(questions) <= 3, "keys in quick succession are one question"
    for body, sent in questions[1:]:
        assert body["extend"]["right"] > 192
        assert sent is not None
        with Image.open(io.BytesIO(sent)) as blank:
            assert blank.size == (512, 256)
        assert len(sent) < 5000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_edges_are_dragged_by_finger_and_nothing_is_wider_than_the_screen(
    browser: Browser, gateway: PageGateway, theme: str
) -> None:
    with browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        reduced_motion="reduce",
        color_scheme=theme,  # type: ignore[arg-type]
    ) as context:
        page = context.new_page()
        page.goto(gateway.url)
        pick(page, file_of())
        expect(edge(page, "left")).to_be_visible()
        box = edge(page, "left").bounding_box()
        assert box is not None
        assert box["width"] >= 44, "wide enough for a finger"
        touch = context.new_cdp_session(page)
        x, y, far = box["x"] + 22, box["y"] + box["height"] / 2, 128 * shown_scale(page)
        for kind, at in (("touchStart", x), ("touchMove", x - far / 2), ("touchMove", x - far)):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect(edge(page, "left")).to_have_text("+128 px")
        expect(page.locator("#estimate")).to_contain_text("6 patches")
        page.click("#estimate")
        expect(page.locator("#generate")).to_be_in_viewport(ratio=1)
        page.click("#tool-repaint")
        expect(page.locator("#easel-area")).to_be_visible()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0

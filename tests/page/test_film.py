"""A film in the browser: asked for, played while it is made, shown without H.264, leafed through, taken home."""

import io
import re

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from page_gateway import PageGateway
from page_jobs import FakeJob, paint_landscape
from PIL import Image
from playwright.sync_api import Browser, Page, expect

PROMPT = "misty hills, panning right"
FRAMES, FPS, CELLS = 8, 8, 8  # of 256 x 128 pixels, 2 x 4 patches
NO_H264 = """() => {
    MediaSource.isTypeSupported = () => false;
    HTMLMediaElement.prototype.canPlayType = () => "";
}"""
# How many decoded pictures are held at a time, at most.
COUNT_BITMAPS = """() => {
    window.held = window.most = 0;
    const make = window.createImageBitmap;
    window.createImageBitmap = async (...values) => {
        const bitmap = await make(...values);
        window.most = Math.max(window.most, window.held += 1);
        return bitmap;
    };
    const close = ImageBitmap.prototype.close;
    ImageBitmap.prototype.close = function () { window.held -= 1; close.call(this); };
}"""


def ask(page: Page, frames: int = FRAMES, seed: int = 5) -> None:
    page.get_by_role("radio", name="A film").check()
    page.fill("#prompt", PROMPT)
    page.locator('label.size:has(input[value="custom"])').click()
    page.fill("#width", "256")
    page.fill("#height", "128")
    page.fill("#frames", str(frames))
    page.fill("#fps", str(FPS))
    page.fill("#seed", str(seed))
    page.click("#generate")


def has_status(page: Page, status: str) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-status", status)


def plays_on(page: Page, screen: str, frames: int) -> None:
    expect(page.locator("#film-bar")).to_have_attribute("data-screen", screen)
    expect(page.locator("#film-bar")).to_have_attribute("data-length", str(frames))


def leaf(page: Page, frame: int) -> None:
    page.locator("#film-frame").fill(str(frame))
    expect(page.locator("#film-place")).to_have_text(re.compile(f"^{frame + 1} of"))


def seen(page: Page, screen: str = "#film-video") -> NDArray[np.int64]:
    """The pixels that a film's screen shows."""
    data = page.locator(screen).evaluate(
        """async (screen) => {
            while (screen.seeking) await new Promise((resolve) => setTimeout(resolve, 20));
            const copy = document.createElement("canvas");
            copy.width = screen.videoWidth ?? screen.width;
            copy.height = screen.videoHeight ?? screen.height;
            copy.getContext("2d").drawImage(screen, 0, 0);
            return [...copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data];
        }"""
    )
    return np.array(data).reshape(128, 256, 4)[..., :3]


def comes_to_show(page: Page, frame: Image.Image) -> None:
    """The canvas for single frames shows this one, pixel for pixel, as soon as it is loaded."""
    while not np.array_equal(seen(page, "#film-canvas"), np.asarray(frame)):  # as long as the test may take
        page.wait_for_timeout(50)


def nearest(shown: NDArray[np.int64], job: FakeJob) -> int:
    """Which frame of the film that is, as far as H.264 leaves it recognisable."""
    far = [np.abs(shown - np.asarray(job.frame(frame))).mean() for frame in range(job.job.layout.grid.frames)]
    assert min(far) < 3
    return int(np.argmin(far))


def comes_to_play(page: Page, frame: int, job: FakeJob) -> None:
    """The video shows this frame, presently: browsers say where they are before they show it."""
    while nearest(seen(page), job) != frame:  # as long as the test may take
        page.wait_for_timeout(50)


def test_a_film_plays_while_it_is_made_and_goes_on_to_its_end(page: Page, gateway: PageGateway) -> None:
    page.emulate_media(reduced_motion="no-preference")
    gateway.hold_after = CELLS * 4 + 3
    ask(page)
    plays_on(page, "StreamScreen", 3)  # the frame that came last is in the film when the next one comes
    expect(page.locator("#film-video")).to_be_visible()
    expect(page.get_by_role("button", name="Pause the film")).to_be_visible()
    expect(page.locator("#progress-text")).to_contain_text(f"4 of {FRAMES} frames")
    expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "4")
    expect(page.locator("#progress")).to_have_attribute("aria-valuemax", str(FRAMES))
    expect(page.locator("#facts")).to_contain_text("film of 1 s, 8 frames a second")
    places = {page.locator("#film-place").inner_text() for _ in range(40) if not page.wait_for_timeout(40)}
    assert places >= {f"1 of {FRAMES}", f"3 of {FRAMES}"}, "what is there plays again and again"

    page.click("#view-painting")
    expect(page.locator("#film-video")).to_be_hidden()
    page.click("#view-film")
    leaf(page, 2)
    expect(page.get_by_role("button", name="Play the film")).to_be_visible()
    job = gateway.jobs["job-1"]
    comes_to_play(page, 2, job)
    page.locator("#film-frame").fill(str(FRAMES - 1))
    expect(page.locator("#film-place")).to_have_text(f"3 of {FRAMES}")  # there is no more yet

    gateway.hold_after = None
    has_status(page, "succeeded")
    plays_on(page, "StreamScreen", FRAMES)
    leaf(page, FRAMES - 1)
    comes_to_play(page, FRAMES - 1, job)
    expect(page.locator("#view-painting")).to_be_hidden()
    expect(page.locator("#film-note")).to_be_hidden()
    assert gateway.films_opened == 1
    assert gateway.posted[0] | {"task": "text_to_video", "frames": FRAMES, "fps": FPS} == gateway.posted[0]
    expect(page.locator(".sheet-facts")).to_contain_text("film of 1 s")


def test_a_film_that_begins_again_after_each_cut_is_whole_in_the_end(page: Page, gateway: PageGateway) -> None:
    gateway.hold_after = CELLS * 3
    gateway.cut_film_after = 1500
    ask(page)
    expect(page.locator("#progress-text")).to_contain_text("3 of")
    while gateway.films_opened < 2:
        page.wait_for_timeout(50)
    gateway.cut_film_after = None
    gateway.hold_after = None
    has_status(page, "succeeded")
    plays_on(page, "StreamScreen", FRAMES)
    leaf(page, 5)
    comes_to_play(page, 5, gateway.jobs["job-1"])


def test_a_finished_film_comes_from_its_file_and_starts_only_when_asked_to_where_motion_is_unwanted(
    page: Page, gateway: PageGateway
) -> None:
    ask(page)
    has_status(page, "succeeded")
    page.reload()
    plays_on(page, "FileScreen", FRAMES)
    play = page.get_by_role("button", name="Play the film")
    expect(page.locator("#film-place")).to_have_text(f"1 of {FRAMES}")
    page.wait_for_timeout(400)
    expect(page.locator("#film-place")).to_have_text(f"1 of {FRAMES}")
    scrubber = page.get_by_role("slider", name="Frame shown")
    scrubber.press("ArrowRight")
    scrubber.press("ArrowRight")
    expect(scrubber).to_have_attribute("aria-valuetext", f"3 of {FRAMES}")
    comes_to_play(page, 2, gateway.jobs["job-1"])
    play.press("Enter")
    expect(page.get_by_role("button", name="Pause the film")).to_be_focused()
    expect(page.locator("#film-place")).not_to_have_text(f"3 of {FRAMES}")
    assert gateway.open_streams == 0


def test_films_are_downloaded_in_each_format(page: Page) -> None:
    ask(page)
    has_status(page, "succeeded")
    expect(page.locator("#download-png")).to_be_hidden()
    for container in ("mp4", "webm", "webp", "gif"):
        with page.expect_download() as download:
            page.click(f"#download-{container}")
        if container in ("mp4", "webm"):
            with av.open(download.value.path()) as film:
                assert sum(1 for _ in film.decode(video=0)) == FRAMES
        else:
            with Image.open(download.value.path()) as film:
                assert (film.format, film.n_frames) == (container.upper(), FRAMES)  # type: ignore[attr-defined]


def test_a_browser_without_h264_shows_the_frames_one_by_one_and_says_so(page: Page, gateway: PageGateway) -> None:
    page.add_init_script(f"({NO_H264})(); ({COUNT_BITMAPS})()")
    page.emulate_media(reduced_motion="no-preference")
    page.reload()
    frames = 16
    gateway.hold_after = CELLS * 5 + 2
    ask(page, frames)
    plays_on(page, "FrameScreen", 5)
    expect(page.locator("#film-note")).to_contain_text("This browser cannot play MP4 films (H.264)")
    expect(page.locator("#film-canvas")).to_be_visible()
    places = {page.locator("#film-place").inner_text() for _ in range(40) if not page.wait_for_timeout(40)}
    assert len(places) >= 3, "it plays"
    leaf(page, 4)
    page.wait_for_function("() => !document.querySelector('#film-bar').dataset.playing.includes('true')")
    gateway.hold_after = None
    has_status(page, "succeeded")
    plays_on(page, "FrameScreen", frames)
    leaf(page, 12)
    comes_to_show(page, gateway.jobs["job-1"].frame(12))
    page.wait_for_function("() => window.held <= 6")  # frames of the film; none of the painting beneath it
    page.click("#film-play")
    while set(gateway.frames_sent) != set(range(frames)):  # as long as the test may take
        page.wait_for_timeout(100)
    assert page.evaluate("window.most") <= 16, "six frames of the film, and patches on their way to the painting"
    assert gateway.films_opened == 0


def test_a_film_that_turns_out_not_to_play_is_shown_frame_by_frame_or_told_to_be_gone(
    page: Page, gateway: PageGateway
) -> None:
    page.route("**/film", lambda route: route.fulfill(body=b"no film", content_type='video/mp4; codecs="avc1.640028"'))
    page.route("**/result*", lambda route: route.abort())
    ask(page)
    has_status(page, "succeeded")
    plays_on(page, "FrameScreen", FRAMES)
    note = page.locator("#film-note")
    expect(note).to_contain_text("The film could not be played here, so its frames are shown one by one")
    leaf(page, 3)
    comes_to_show(page, gateway.jobs["job-1"].frame(3))
    gateway.jobs["job-1"].frames_done = 0
    page.reload()
    expect(note).to_contain_text("its frames are no longer on the server")
    expect(page.locator("#film-bar")).to_be_hidden()


def test_a_film_that_is_opened_again_in_the_middle_fetches_its_newest_frame_only(
    page: Page, gateway: PageGateway
) -> None:
    gateway.patch_seconds = 0
    gateway.hold_after = CELLS * 30 + 1
    ask(page, 40)
    expect(page.locator("#progress-text")).to_contain_text("30 of 40 frames")
    fetched: list[str] = []
    page.on("request", lambda sent: fetched.append(sent.url) if "/patches/" in sent.url else None)
    page.reload()
    expect(page.locator("#progress-text")).to_contain_text("30 of 40 frames")
    plays_on(page, "StreamScreen", 29)
    expect(page.locator("#canvas")).to_have_attribute("data-done", str(CELLS * 30 + 1))
    page.wait_for_timeout(500)
    assert 0 < len(fetched) < CELLS * 12, "patches of 30 frames have come, of which one is seen"
    painted = page.locator("#canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 256, 128).data]"
    )
    now = np.array(painted).reshape(128, 256, 4)[..., :3]
    expected = np.asarray(gateway.jobs["job-1"].frame(29)).copy()
    expected[:64, :64] = np.asarray(gateway.jobs["job-1"].frame(30))[:64, :64]
    assert np.array_equal(now, expected)
    page.click("#cancel")
    has_status(page, "canceled")
    expect(page.locator("#progress-text")).to_have_text("Stopped after 30 of 40 frames")
    leaf(page, 28)
    plays_on(page, "StreamScreen", 29)
    expect(page.locator("#film-note")).to_be_hidden()


def test_mistakes_in_a_film_are_told_at_their_fields_and_the_price_counts_its_frames(
    page: Page, gateway: PageGateway
) -> None:
    page.get_by_role("radio", name="A film").check()
    expect(page.locator("#film-length")).to_have_text("A film of 2 s, without sound.")
    expect(page.locator("#prompt-hint")).to_contain_text("A film needs words")
    page.click("#generate")
    expect(page.locator("#prompt-error")).to_contain_text("A film needs words")
    expect(page.locator("#prompt")).to_be_focused()
    page.fill("#prompt", PROMPT)
    expect(page.locator("#estimate")).to_contain_text("16 frames · 512 patches")
    for name, value in (("frames", "0"), ("frames", ""), ("fps", "0"), ("fps", "61"), ("frames", "99999")):
        before = page.input_value(f"#{name}")
        page.fill(f"#{name}", value)
        page.click("#generate")
        expect(page.locator(f"#{name}-error")).to_be_visible()
        expect(page.locator(f"#{name}")).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{name}")).to_be_focused()
        page.fill(f"#{name}", before)
        expect(page.locator(f"#{name}-error")).to_be_hidden()
    assert gateway.posted == []


def test_a_picture_of_ones_own_begins_a_film_and_is_its_first_frame(page: Page, gateway: PageGateway) -> None:
    own = paint_landscape(192, 128, 3)
    file = io.BytesIO()
    own.save(file, "PNG")
    page.set_input_files("#file", {"name": "lake.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.click("#tool-animate")
    expect(page.get_by_role("radio", name="A film")).to_be_checked()
    expect(page.locator("#title")).to_have_text("Your picture begins to move")
    expect(page.locator("#easel .edge").first).to_be_hidden()
    page.get_by_role("radio", name="A picture").check()
    expect(page.locator("#tool-extend")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("radio", name="A film").check()
    page.fill("#frames", "4")
    expect(page.locator("#estimate")).to_contain_text("4 frames · 18 patches")
    gateway.hold_after = 6 + 2
    page.click("#generate")
    expect(page.locator("#progress-text")).to_contain_text("1 of 4 frames")
    [body] = gateway.posted
    assert (body["task"], body["frames"], body["fps"]) == ("image_animation", 4, 8)
    assert not {"width", "height", "extend", "repaint", "prompt"} & set(body)
    assert gateway.files == [file.getvalue()]
    gateway.hold_after = None
    has_status(page, "succeeded")
    page.reload()
    plays_on(page, "FileScreen", 4)
    page.click("#again-seed")  # the given picture comes from the server
    expect(page).to_have_url(re.compile("#job=job-2$"))
    has_status(page, "succeeded")
    with Image.open(io.BytesIO(gateway.files[1] or b"")) as sent:
        assert np.array_equal(np.asarray(sent), np.asarray(own))
    assert gateway.posted[1]["task"] == "image_animation"
    page.click("#reuse")
    expect(page.get_by_role("radio", name="A film")).to_be_checked()
    expect(page.locator("#tool-animate")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#frames")).to_have_value("4")


def test_a_finished_picture_is_animated(page: Page, gateway: PageGateway) -> None:
    page.fill("#prompt", "hills")
    page.locator('label.size:has(input[value="256x256"])').click()
    page.click("#generate")
    has_status(page, "succeeded")
    page.click("#animate-result")
    expect(page.get_by_role("radio", name="A film")).to_be_checked()
    page.fill("#frames", "3")
    page.click("#generate")
    has_status(page, "succeeded")
    assert gateway.posted[1]["task"] == "image_animation"
    for button in ("#extend-result", "#repaint-result", "#animate-result"):
        expect(page.locator(button)).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_the_film_and_its_bar_fit_the_screen(browser: Browser, gateway: PageGateway, theme: str) -> None:
    with browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        reduced_motion="reduce",
        color_scheme=theme,  # type: ignore[arg-type]
    ) as context:
        page = context.new_page()
        page.goto(gateway.url)
        ask(page)
        has_status(page, "succeeded")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0
        expect(page.locator("#film-bar")).to_be_in_viewport(ratio=1)
        for control in ("#film-play", "#film-frame"):
            box = page.locator(control).bounding_box()
            assert box is not None
            assert box["height"] >= 44, "high enough for a finger"
        page.locator("#film-play").tap()
        expect(page.get_by_role("button", name="Pause the film")).to_be_visible()

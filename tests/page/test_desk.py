"""The form, the refusals, the history and the other jobs; and that everybody can use them on any screen."""

import re

import pytest
from page_gateway import PageGateway
from playwright.sync_api import Browser, Page, expect

SCREENS = [(360, 740), (768, 1024), (1440, 900)]


def has_status(page: Page, status: str) -> None:
    expect(page.locator("#canvas")).to_have_attribute("data-status", status)


def make(page: Page, prompt: str, seed: int = 5) -> None:
    page.fill("#prompt", prompt)
    page.locator('label.size:has(input[value="256x256"])').click()
    page.fill("#seed", str(seed))
    page.click("#generate")
    expect(page.locator("#title")).to_have_text(prompt)


def test_an_example_fills_the_prompt_and_ctrl_enter_sends_it(page: Page, gateway: PageGateway) -> None:
    page.get_by_role("button", name="dunes at dawn, hazy").click()
    expect(page.locator("#prompt")).to_have_value("dunes at dawn, hazy")
    page.locator("#prompt").press("Control+Enter")
    has_status(page, "succeeded")
    assert [body["prompt"] for body in gateway.posted] == ["dunes at dawn, hazy"]


def test_without_words_and_seed_the_request_leaves_them_out(page: Page, gateway: PageGateway) -> None:
    page.click("#generate")
    has_status(page, "succeeded")
    sampling = {"temperature": 1, "top_p": 0.98, "cfg_scale": 4}
    assert gateway.posted == [{"width": 512, "height": 256, "order": "auto", "sampling": sampling}]
    expect(page.locator("#title")).to_have_text("Untitled")


def test_finer_settings_are_sent_and_can_be_put_back(page: Page, gateway: PageGateway) -> None:
    page.click("#more summary")
    page.fill("#temperature", "0.5")
    page.fill("#cfg_scale", "5")
    page.select_option("#order", "zeta")
    page.check("#distilled")
    expect(page.locator("#more-summary")).to_have_text("temperature 0.5, guidance 5, in one pass")
    page.click("#generate")
    has_status(page, "succeeded")
    assert gateway.posted[0]["sampling"] == {"temperature": 0.5, "top_p": 0.98, "cfg_scale": 5, "distilled": True}
    assert gateway.posted[0]["order"] == "zeta"
    page.click("#defaults")
    expect(page.locator("#temperature")).to_have_value("1")
    expect(page.locator("#distilled")).not_to_be_checked()
    expect(page.locator("#order")).to_have_value("auto")


def test_guidance_is_the_same_for_films_and_pictures(page: Page) -> None:
    page.click("#more summary")
    scale = page.locator("#cfg_scale")
    for kind in ("A film", "A picture"):
        page.get_by_role("radio", name=kind).check()
        expect(scale).to_have_value("4")
        expect(page.locator("#more-summary")).to_have_text("")
    page.fill("#cfg_scale", "5")
    page.get_by_role("radio", name="A film").check()
    expect(scale).to_have_value("5")
    expect(page.locator("#distilled-row")).to_be_hidden()
    page.click("#defaults")
    expect(scale).to_have_value("4")


def test_the_seed_is_kept_only_when_asked(page: Page, gateway: PageGateway) -> None:
    page.click("#dice")
    rolled = int(page.input_value("#seed"))
    page.click("#generate")
    has_status(page, "succeeded")
    assert gateway.posted[0]["seed"] == rolled
    expect(page.locator("#seed")).to_have_value("")
    page.check("#keep-seed")
    page.click("#generate")
    expect(page.locator("#seed")).not_to_have_value("")  # the one the server drew
    kept = int(page.input_value("#seed"))
    page.click("#generate")
    expect(page).to_have_url(re.compile("#job=job-3$"))
    assert gateway.posted[2]["seed"] == kept == gateway.jobs["job-2"].seed


def test_the_price_is_the_gateways_and_follows_the_form(page: Page, gateway: PageGateway) -> None:
    estimate, facts = page.locator("#estimate"), page.locator("#plan-facts")
    expect(estimate).to_have_text("32 patches · 14 rounds · time unknown yet")
    estimate.click()
    expect(facts).to_contain_text("top to bottom")
    expect(facts).to_contain_text("at most 1.7 MB of the worker's context pool")
    expect(facts).to_contain_text("unknown yet: no worker has said how long a patch takes")
    asked = len(gateway.planned)
    page.fill("#prompt", "words change nothing of the price, only that there are some")
    page.locator('label.size:has(input[value="256x256"])').click()
    gateway.broker.info = gateway.broker.info.model_copy(update={"patch_seconds": 0.25, "page_bytes": None})
    page.locator('label.size:has(input[value="2048x512"])').click()
    expect(estimate).to_have_text("256 patches · 46 rounds · about 1 min")
    expect(facts).to_contain_text("Memoryunknown yet")
    page.locator("#prompt").press_sequentially(" and some more")
    page.wait_for_timeout(800)  # longer than the pause before a question
    assert len(gateway.planned) <= asked + 2, "sizes in passing may not be asked about, words never"
    page.locator('label.size:has(input[value="custom"])').click()
    page.fill("#width", "0")
    expect(page.locator("#plan")).to_be_hidden()
    page.fill("#width", "640")
    page.click("#more summary")
    page.select_option("#order", "omega")
    expect(facts).to_contain_text("left to right")


def test_the_price_is_asked_again_when_a_finished_picture_has_taught_the_pace(page: Page, gateway: PageGateway) -> None:
    expect(page.locator("#estimate")).to_contain_text("time unknown yet")
    gateway.broker.info = gateway.broker.info.model_copy(update={"patch_seconds": 0.5})
    page.click("#generate")
    has_status(page, "succeeded")
    expect(page.locator("#estimate")).to_have_text("32 patches · 14 rounds · about 20 s")


@pytest.mark.parametrize(
    ("width", "height", "field"), [("0", "256", "width"), ("512", "", "height"), ("70000", "64", "width")]
)
def test_a_wrong_size_is_shown_at_its_field(
    page: Page, gateway: PageGateway, width: str, height: str, field: str
) -> None:
    page.locator('label.size:has(input[value="custom"])').click()
    page.fill("#width", width)
    page.fill("#height", height)
    page.click("#generate")
    expect(page.locator(f"#{field}-error")).to_be_visible()
    expect(page.locator(f"#{field}")).to_be_focused()
    expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    assert gateway.posted == []
    page.fill(f"#{field}", "128")
    expect(page.locator(f"#{field}-error")).to_be_hidden()


def test_a_refusal_by_the_server_is_shown_at_the_field_it_points_to(page: Page) -> None:
    page.locator('label.size:has(input[value="custom"])').click()
    page.fill("#width", "10000")
    page.fill("#height", "10000")
    page.click("#generate")
    expect(page.locator("#width-error")).to_contain_text("width times height must be at most 80000000 pixels")
    expect(page.locator("#banner")).to_be_hidden()
    page.fill("#width", "64")
    page.fill("#height", "64")
    page.fill("#prompt", "x" * 3000)
    page.click("#generate")
    expect(page.locator("#prompt-error")).to_contain_text("at most 2000 characters")
    expect(page.locator("#prompt")).to_be_focused()


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_queue_counts_down_and_tries_again_by_itself(page: Page, gateway: PageGateway, status: int) -> None:
    gateway.refusals = [(status, "200 pictures wait already.", 2)]
    page.fill("#prompt", "patient hills")
    page.click("#generate")
    expect(page.locator("#banner")).to_contain_text("200 pictures wait already.")
    expect(page.locator("#banner-countdown")).to_have_text(re.compile("Trying again in [12] s."))
    has_status(page, "succeeded")
    expect(page.locator("#banner")).to_be_hidden()
    assert [body["prompt"] for body in gateway.posted] == ["patient hills"] * 2


def test_a_dismissed_refusal_is_not_tried_again(page: Page, gateway: PageGateway) -> None:
    page.clock.install()  # the browser's clock stands still unless told: a busy machine cannot run the countdown out
    page.reload()
    gateway.refusals = [(503, "The queue is away.", 10)]
    page.click("#generate")
    page.click("#banner-close")
    page.clock.run_for(15_000)
    expect(page.locator("#banner")).to_be_hidden()
    assert len(gateway.posted) == 1


def test_an_unreachable_server_is_said_and_the_request_can_be_sent_again(page: Page, gateway: PageGateway) -> None:
    page.route("**/generate", lambda route: route.abort())
    page.fill("#prompt", "far away hills")
    page.click("#generate")
    expect(page.locator("#banner")).to_contain_text("The server cannot be reached.")
    page.unroute("**/generate")
    page.click("#banner-retry")
    has_status(page, "succeeded")
    assert len(gateway.posted) == 1


def test_an_unknown_address_says_so_and_leaves_the_desk_ready(page: Page) -> None:
    page.goto(page.url.split("#")[0] + "#job=never-was")
    expect(page.locator("#banner")).to_contain_text("Not on the server.")
    has_status(page, "empty")
    expect(page.locator("#generate")).to_be_enabled()


def test_a_second_picture_joins_the_first_and_only_the_one_on_the_wall_streams(
    page: Page, gateway: PageGateway
) -> None:
    gateway.hold_after = 4
    make(page, "first hills")
    expect(page.locator("#canvas")).to_have_attribute("data-done", "4")
    expect(page.locator("#running")).to_be_hidden()
    make(page, "second hills")
    expect(page.locator("#running-list li")).to_have_count(2)
    page.locator(".running-open", has_text="first hills").click()
    expect(page.locator("#title")).to_have_text("first hills")
    expect(page.locator("#canvas")).to_have_attribute("data-done", "4")
    page.get_by_role("button", name="Cancel “second hills”").click()
    expect(page.locator("#running")).to_be_hidden()
    gateway.hold_after = None
    has_status(page, "succeeded")
    assert gateway.jobs["job-2"].status == "canceled"
    assert gateway.most_streams <= 2, "the earlier stream may still be closing, no more"


def test_a_picture_finished_out_of_sight_comes_to_the_history_with_its_thumbnail(
    page: Page, gateway: PageGateway
) -> None:
    gateway.hold_after = 4
    make(page, "first hills")
    make(page, "second hills")
    gateway.hold_after = None
    has_status(page, "succeeded")
    item = page.locator(".sheet-item", has_text="first hills")
    expect(item.locator("img")).to_have_attribute("src", re.compile("^data:image/"))


def test_the_history_survives_a_reload_reopens_and_forgets(page: Page) -> None:
    make(page, "first hills", seed=1)
    has_status(page, "succeeded")
    make(page, "second hills", seed=2)
    has_status(page, "succeeded")
    page.reload()
    expect(page.locator("#history .sheet-item")).to_have_count(2)
    page.locator(".sheet-open", has_text="first hills").click()
    expect(page.locator("#title")).to_have_text("first hills")
    has_status(page, "succeeded")
    expect(page.locator("#facts")).to_contain_text("seed 1")
    page.get_by_role("button", name="Remove “second hills”").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#history .sheet-item")).to_have_count(1)
    page.reload()
    expect(page.locator("#history .sheet-item")).to_have_count(1)


def test_a_picture_the_server_forgot_keeps_its_thumbnail_and_can_be_made_again(
    page: Page, gateway: PageGateway
) -> None:
    make(page, "old hills", seed=31)
    has_status(page, "succeeded")
    expect(page.locator(".sheet-item img")).to_have_count(1)
    gateway.jobs.clear()
    page.reload()
    has_status(page, "gone")
    expect(page.locator("#wall-note")).to_contain_text("no longer keeps this picture")
    expect(page.locator("#downloads")).to_be_hidden()
    middle = page.locator("#canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(128, 200, 1, 1).data]"
    )
    assert middle[3] == 255, "the small copy hangs on the wall"
    page.click("#again-same")
    has_status(page, "succeeded")
    again = gateway.posted[1]
    assert (again["prompt"], again["seed"], again["width"], again["height"]) == ("old hills", 31, 256, 256)


def test_use_these_settings_puts_them_back_into_the_form(page: Page) -> None:
    make(page, "hills to be varied", seed=12)
    has_status(page, "succeeded")
    page.fill("#prompt", "something else")
    page.click("#reuse")
    expect(page.locator("#prompt")).to_have_value("hills to be varied")
    expect(page.locator("#seed")).to_have_value("12")
    expect(page.locator('input[value="256x256"]')).to_be_checked()


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_nothing_is_wider_than_the_screen_and_generate_is_in_sight(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    expect(page.locator("#generate")).to_be_in_viewport(ratio=1)
    page.locator("#more summary").click()
    page.locator('label.size:has(input[value="custom"])').click()
    assert page.evaluate(overflow) <= 0
    page.locator('label.size:has(input[value="1536x256"])').click()
    page.fill("#prompt", "a" * 300)
    page.click("#generate")
    has_status(page, "succeeded")
    assert page.evaluate(overflow) <= 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Browser, gateway: PageGateway, theme: str) -> None:
    with browser.new_context(color_scheme=theme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(gateway.url)
        colours = page.evaluate("""() => {
            const probe = document.body.appendChild(document.createElement('i'));
            const names = ['paper', 'wall', 'ink', 'soft', 'seal', 'seal-ink', 'error', 'field'];
            return Object.fromEntries(names.map((name) => {
                probe.style.color = `var(--${name})`;
                return [name, getComputedStyle(probe).color.match(/\\d+/g).map(Number)];
            }));
        }""")
    for words, ground, least in [
        ("ink", "paper", 7), ("soft", "paper", 4.5), ("soft", "wall", 4.5), ("seal", "paper", 4.5),
        ("seal-ink", "seal", 4.5), ("error", "paper", 4.5), ("field", "paper", 3),
    ]:  # fmt: skip
        assert contrast(colours[words], colours[ground]) >= least, (words, ground)


def contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2 contrast ratio of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_control_has_a_name_and_progress_is_announced(page: Page) -> None:
    make(page, "named hills")
    has_status(page, "succeeded")
    page.click("#more summary")
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
        .filter((e) => e.checkVisibility())
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
        .map((e) => e.outerHTML)""")
    assert nameless == []
    expect(page.locator("#live")).to_have_text("Finished: named hills")
    expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile("^named hills"))
    assert (
        page.evaluate("new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size")
        == page.locator("[id]").count()
    ), "an id is used twice"

"""GenerateRequest: every field has its limits, and nothing that is not a request passes as one."""

import json

import pytest
from pydantic import ValidationError

from jobs.request import CANDIDATES_MAX, PROMPT_MAX_CHARS, SHORT_TASK_NAMES, SIDE_MAX_PX, GenerateRequest, Task


def test_an_empty_request_is_a_picture_without_a_prompt() -> None:
    request = GenerateRequest.model_validate_json("{}")
    assert request.resolved_task is Task.UNCONDITIONAL_IMAGE
    assert (request.width, request.height, request.seed, request.order) == (512, 256, None, "auto")


def test_a_prompt_makes_it_text_to_image() -> None:
    assert GenerateRequest(prompt="a lake").resolved_task is Task.TEXT_TO_IMAGE


@pytest.mark.parametrize(
    ("width", "height", "patches"), [(512, 256, 32), (1, 1, 1), (64, 64, 1), (65, 64, 2), (65, 129, 6)]
)
def test_sizes_are_rounded_up_to_whole_patches(width: int, height: int, patches: int) -> None:
    assert GenerateRequest(width=width, height=height).patch_count(64) == patches


@pytest.mark.parametrize(
    "body",
    [
        {"width": 0},
        {"width": -64},
        {"width": SIDE_MAX_PX + 1},
        {"width": 10**9},
        {"width": 512.0},
        {"width": "512"},
        {"width": True},
        {"width": None},
        {"height": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 1.5},
        {"prompt": ""},
        {"prompt": " \n\t"},
        {"prompt": "\u200b\u0000"},
        {"prompt": "a" * (PROMPT_MAX_CHARS + 1)},
        {"prompt": "a" * 100_000},
        {"prompt": 5},
        {"prompt": ["a lake"]},
        {"order": "sideways"},
        {"task": "video"},
        {"task": "text_to_image"},
        {"task": "outpaint"},
        {"task": "text_to_image", "prompt": "a lake", "extend": {"left": 1}},
        {"task": "unconditional_image", "image": "aaaa"},
        {"extend": {"left": -1}},
        {"extend": {"left": 10**9}},
        {"extend": {"left": 1.5}},
        {"extend": {"up": 1}},
        {"anchor": "middle"},
        {"repaint": {"left": 0, "top": 0, "width": 0, "height": 1}},
        {"repaint": {"left": 0, "top": 0}},
        {"task": "unconditional_image", "prompt": "a lake"},
        {"sampling": {"temperature": -0.1}},
        {"sampling": {"temperature": 4.1}},
        {"sampling": {"top_p": 0}},
        {"sampling": {"top_p": 1.1}},
        {"sampling": {"min_p": -0.1}},
        {"sampling": {"min_p": 1.1}},
        {"sampling": {"later_min_p": 1.1}},
        {"sampling": {"top_k": -1}},
        {"sampling": {"top_k": 1.5}},
        {"sampling": {"cfg_scale": 21}},
        {"sampling": {"colour": 1}},
        {"sampling": None},
        {"model": "m" * 101},
        {"colour": "red"},
        [],
        "a lake",
        None,
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_what_is_no_request_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate_json(json.dumps(body))
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate(body)


@pytest.mark.parametrize(("short", "task"), SHORT_TASK_NAMES.items())
def test_a_short_name_is_the_task(short: str, task: Task) -> None:
    assert (
        GenerateRequest.model_validate({"task": short, "prompt": None if short == "unconditional" else "a"}).task
        is task
    )


@pytest.mark.parametrize("field", [{"image": "aaaa"}, {"job": "abc"}, {"extend": {"top": 3}}, {"anchor": "top"}])
def test_what_only_a_given_picture_has_makes_it_outpainting(field: dict[str, object]) -> None:
    request = GenerateRequest.model_validate(field)
    assert request.resolved_task is Task.IMAGE_OUTPAINTING
    assert GenerateRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"guidance_scale": 2.0, "sampling": {"cfg_scale": 2.0}}, "guidance_scale and sampling.cfg_scale are the same"),
        ({"image": "aaaa", "job": "abc"}, "image and job both say"),
        ({"job": "abc", "task": "t2i", "prompt": "a"}, "task text_to_image takes no job"),
        ({"n": 0}, "greater than or equal to 1"),
        ({"n": CANDIDATES_MAX + 1}, "less than or equal to 64"),
        ({"n": 1.5}, "valid integer"),
    ],
)
def test_what_contradicts_itself_or_is_too_much_is_refused(body: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GenerateRequest.model_validate(body)


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"frames": 2, "prompt": "a"}, Task.TEXT_TO_VIDEO),
        ({"fps": 2}, Task.TEXT_TO_VIDEO),  # an image may come beside it, as a part of a form
        ({"frames": 2, "image": "aaaa"}, Task.IMAGE_ANIMATION),
        ({"fps": 60, "job": "abc", "prompt": "a"}, Task.IMAGE_ANIMATION),
        ({"task": "animation"}, Task.IMAGE_ANIMATION),
    ],
)
def test_frames_make_it_a_film(body: dict[str, object], task: Task) -> None:
    assert GenerateRequest.model_validate(body).resolved_task is task


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task": "t2v"}, "prompt"),
        ({"task": "t2v", "prompt": "a", "image": "aaaa"}, "image"),
        ({"task": "animation", "extend": {"left": 1}}, "extend"),
        ({"task": "t2i", "prompt": "a", "frames": 2}, "frames"),
        ({"task": "outpainting", "fps": 2}, "fps"),
    ],
)
def test_a_field_that_does_not_fit_the_task_is_named(body: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerateRequest.model_validate(body)
    [fault] = caught.value.errors()
    assert (fault["type"], fault["ctx"]["field"]) == ("misfit", field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p", "later_min_p", "cfg_scale"])
def test_numbers_that_are_none_are_refused(field: str, number: str) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate_json(f'{{"sampling": {{"{field}": {number}}}}}')
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate({"sampling": {field: float(number)}})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate_json('{"prompt": "\\ud800"}')
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate({"prompt": "\ud800"})


@pytest.mark.parametrize("prompt", ["雪山", "🏔", "a", "  a  ", "e\u0301", "a" * PROMPT_MAX_CHARS])
def test_any_writing_is_a_prompt(prompt: str) -> None:
    assert GenerateRequest(prompt=prompt).prompt == prompt


def test_a_request_cannot_be_changed_and_survives_json() -> None:
    request = GenerateRequest(prompt="a lake", seed=0)
    with pytest.raises(ValidationError, match="frozen"):
        request.seed = 1
    assert GenerateRequest.model_validate_json(request.model_dump_json()) == request

"""Pictures that go on from given pixels: the step at their border, and what guidance of the decoder is worth."""

import pytest
import torch

from canvas.grid import Box
from training.evaluation.given import BESIDE_PX, border_step, corners, extend, measure
from training.evaluation.setting import Setting

GIVEN = Box(20, 24, 60, 70)


def test_a_border_that_cannot_be_seen_steps_like_what_is_beside_it() -> None:
    ramp = torch.arange(100, dtype=torch.uint8)
    even = (ramp[:, None] + ramp).expand(3, 100, 100)
    assert border_step(even, GIVEN) == pytest.approx(1.0)


def test_a_step_on_one_side_of_four_shows_as_a_quarter() -> None:
    ramp = torch.arange(100, dtype=torch.uint8)
    stepped = (ramp[:, None] + ramp).repeat(3, 1, 1)
    stepped[:, :, GIVEN.right :] += 8  # nine times the step of one
    assert border_step(stepped, GIVEN) == pytest.approx((3 + 9) / 4)
    beside = stepped.clone()
    beside[:, :, GIVEN.right + BESIDE_PX + 1 :] += 50
    assert border_step(beside, GIVEN) == border_step(stepped, GIVEN), "what is further away does not count"


def test_an_extended_picture_keeps_its_own_pixels(setting: Setting) -> None:
    picture = torch.randint(256, (3, 48, 70), dtype=torch.uint8)
    whole, given = extend(setting.model, picture, 0)
    assert whole.shape == (3, 48 + 128, 70 + 128)
    assert torch.equal(whole[:, given.top : given.bottom, given.left : given.right], picture)


def test_the_part_names_its_figures(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.given.FILMS", 1)
    part = measure(setting)
    rows = {row.name: row for row in part.rows}
    assert rows["outpainting_border_step"].goal == 1.1
    assert rows["outpainting_border_step"].pictures == 3
    assert {"border_psnr_plain", "border_psnr_guided", "border_psnr_guided_and_met"} < rows.keys()
    assert rows["flicker_plain"].value >= 0
    assert rows["flicker_plain"].value != rows["flicker_guided"].value
    assert rows["extended_frechet"].value > 0
    assert rows["extended_frechet"].pictures == 2
    assert len(part.figures) == 2


def test_corners_are_where_nothing_was_given() -> None:
    pictures = torch.arange(320 * 640).view(1, 1, 320, 640).expand(2, 3, -1, -1)
    found = corners(pictures)
    assert found.shape == (8, 3, 256, 256)
    assert found[::2, 0, 0, 0].tolist() == [0, 384, 64 * 640, 64 * 640 + 384]

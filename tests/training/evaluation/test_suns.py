"""Whether a drawn sun stands where it should, and how round it is."""

from dataclasses import replace

import torch

from model.generate import Model
from training.evaluation.setting import Setting
from training.evaluation.suns import SIDE_PX, LitScene, draw_again, drawn_discs, lit_scenes, measure, overlap, roundness
from training.outlines import Outliner

CPU = torch.device("cpu")


def picture_of(scene: LitScene, down: float = 0.0, right: float = 0.0) -> torch.Tensor:
    """A plain sky with a disc of the scene's size and colour, so many radii from where it should be."""
    rows, columns = torch.arange(SIDE_PX)[:, None] + 0.5, torch.arange(SIDE_PX) + 0.5
    row, column = scene.row + down * scene.radius, scene.column + right * scene.radius
    disc = (rows - row) ** 2 + (columns - column) ** 2 < scene.radius**2
    near = (rows - scene.row) ** 2 + (columns - scene.column) ** 2
    sky = scene.pixels[:, (near > (1.25 * scene.radius) ** 2) & (near < (1.8 * scene.radius) ** 2)].median(1).values
    own = scene.pixels[:, near < (0.7 * scene.radius) ** 2].median(1).values
    return torch.where(disc, own[:, None, None], sky[:, None, None])


def test_a_disc_overlaps_the_less_the_further_away_it_is() -> None:
    scenes = lit_scenes(4, CPU)
    assert len(scenes) == 4
    assert all(scene.shows.celestial in ("sun", "moon", "moon_and_stars") for scene in scenes)
    for scene in scenes:
        pictures = [scene.pixels, *(picture_of(scene, *by) for by in ((0, 0), (0.25, 0), (0, 0.6), (9, 9)))]
        discs = drawn_discs(torch.stack(pictures), [scene] * 5)
        same, there, near, aside, none = (overlap(disc, scene.disc) for disc in discs)
        assert same == 1
        assert there > 0.85
        assert 0.65 < near < 0.8, "two circles a quarter of a radius apart have 0.73 of their union in common"
        assert 0.35 < aside < 0.55, "0.6 radii: 0.45"
        assert none == 0


def test_a_circle_is_round_and_a_square_is_less_so() -> None:
    rows, columns = torch.arange(64)[:, None] + 0.5, torch.arange(64) + 0.5
    assert roundness((rows - 20) ** 2 + (columns - 30) ** 2 < 15**2) > 0.98
    square = ((rows - 20).abs() < 15) & ((columns - 30).abs() < 15)
    assert 0.8 < roundness(square) < 0.86, "a square and the circle of its area have 0.83 of their union in common"
    assert roundness(square & (columns < 20)) < 0.6
    assert roundness(square & False) == 0


def test_scenes_are_drawn_again_to_the_outline_that_is_theirs(model: Model, setting: Setting) -> None:
    scenes = lit_scenes(2, CPU)
    outliner = Outliner(model.tokenizer, model.config, CPU)
    drawn = draw_again(model, outliner, scenes, 8)
    assert drawn.shape == (2, 3, SIDE_PX, SIDE_PX)
    other = [replace(scenes[0], pixels=-scenes[0].pixels), scenes[1]]
    again = draw_again(model, outliner, other, 8)
    assert not torch.equal(again[0], drawn[0])
    assert torch.equal(again[1], drawn[1])
    part = measure(setting)
    assert [row.name for row in part.rows] == [
        f"suns_{of}{how}" for of in ("drawn", "told", "tokenizer") for how in ("", "_round")
    ]
    assert all(0 <= row.value <= 1 for row in part.rows)
    assert len(part.figures) == 1

"""How round a drawn sun is: its overlap with the true disc."""

from dataclasses import replace

import torch

from model.generate import Model
from training.evaluation.setting import Setting
from training.evaluation.suns import SIDE_PX, LitScene, draw_again, lit_scenes, measure, overlaps
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
    assert overlaps(torch.stack([scene.pixels for scene in scenes]), scenes) == [1.0] * 4
    for scene in scenes:
        there, near, aside, none = overlaps(
            torch.stack([*(picture_of(scene, *by) for by in ((0, 0), (0.25, 0), (0, 0.6))), picture_of(scene, 9, 9)]),
            [scene] * 4,
        )
        assert there > 0.85
        assert 0.65 < near < 0.8, "two circles a quarter of a radius apart have 0.73 of their union in common"
        assert 0.35 < aside < 0.55, "0.6 radii: 0.45"
        assert none == 0


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
    assert [row.name for row in part.rows] == ["suns_drawn", "suns_told", "suns_tokenizer"]
    assert all(0 <= row.value <= 1 for row in part.rows)
    assert len(part.figures) == 1

# The procedural landscapes: reproducible, the same in every crop, and showing what their attributes say.
from dataclasses import replace

import pytest
import torch

from training.scenes import ATTRIBUTE_VALUES, Attributes, around_orb, render, sample_scenes

SIZE = (64, 96)


def picture(attributes: Attributes, seed: int = 3, size: tuple[int, int] = SIZE, **how: object) -> torch.Tensor:
    """Four scenes that show the same attributes, [4, 3, h, w]."""
    scenes = sample_scenes(4, seed, aspect=size[1] / size[0], attributes=[attributes] * 4)
    return render(scenes, size, **how)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    first, again, other = (render(sample_scenes(3, seed), SIZE) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.05


def test_a_scene_does_not_depend_on_how_many_are_drawn_with_it() -> None:
    few, many = sample_scenes(2, 5), sample_scenes(6, 5)
    assert few.attributes == many.attributes[:2]
    torch.testing.assert_close(render(few, SIZE), render(many, SIZE)[:2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("box", [(0, 0, 30, 40), (17, 23, 64, 96), (40, 5, 41, 6)])
def test_a_crop_equals_the_same_pixels_of_the_whole(box: tuple[int, int, int, int]) -> None:
    scenes = sample_scenes(12, 7, aspect=1.5)
    top, left, bottom, right = box
    whole = render(scenes, SIZE, time=2.0)[:, :, top:bottom, left:right]
    torch.testing.assert_close(render(scenes, SIZE, box=box, time=2.0), whole, atol=1e-4, rtol=0)


def test_the_panorama_goes_on_beyond_the_canvas_on_both_sides() -> None:
    scenes = sample_scenes(4, 8)
    wide = render(scenes, SIZE, box=(0, -500, 64, 600))
    assert torch.isfinite(wide).all()
    torch.testing.assert_close(render(scenes, SIZE, box=(0, -500, 64, -436)), wide[:, :, :, :64], atol=1e-4, rtol=0)
    assert (wide[:, :, :, :64] - wide[:, :, :, -64:]).abs().mean() > 0.01


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (128, 33), (257, 65)])
def test_any_size_gives_finite_pixels_between_minus_one_and_one(size: tuple[int, int]) -> None:
    pixels = render(sample_scenes(8, 11, aspect=size[1] / size[0]), size)
    assert pixels.shape == (8, 3, *size)
    assert pixels.dtype == torch.float32
    assert torch.isfinite(pixels).all()
    assert pixels.abs().max() <= 1


def test_all_sizes_show_the_same_picture() -> None:
    scenes = sample_scenes(6, 12, attributes=[Attributes(terrain="dunes"), Attributes(terrain="mountains")] * 3)
    small, large = render(scenes, (64, 64)), render(scenes, (256, 256))
    assert (torch.nn.functional.avg_pool2d(large, 4) - small).abs().mean() < 0.02


def test_night_is_darker_than_noon() -> None:
    noon = Attributes("noon", "hills", celestial="none")
    assert picture(noon).mean() - picture(replace(noon, time_of_day="night")).mean() > 0.6


@pytest.mark.parametrize(
    ("terrain", "season"), [("mountains", "summer"), ("hills", "winter"), ("forest", "winter"), ("plains", "winter")]
)
def test_snow_adds_near_white_pixels(terrain: str, season: str) -> None:
    trees = "firs" if terrain == "forest" else "none"
    bare = Attributes("noon", terrain, trees=trees, clouds="clear", celestial="none", season=season)
    near_white = [(picture(a).amin(1) > 0.6).float().mean() for a in (bare, replace(bare, snow="snow"))]
    assert near_white[1] - near_white[0] > 0.02


def test_stars_add_bright_pixels_at_every_size() -> None:
    dark = Attributes("night", "hills", clouds="clear", celestial="none")
    for size in ((48, 64), (128, 128), (512, 64)):
        bright = [(picture(a, size=size).amin(1) > 0.2).sum((1, 2)) for a in (dark, replace(dark, celestial="stars"))]
        assert bright[0].max() == 0
        assert bright[1].min() >= 4  # in each of the four pictures


@pytest.mark.parametrize(
    ("celestial", "time_of_day"), [("sun", "noon"), ("sun", "sunset"), ("moon", "night"), ("crescent", "dusk")]
)
@pytest.mark.parametrize("terrain", ["mountains", "dunes", "sea"])
def test_sun_and_moon_stand_in_the_sky_of_the_canvas(celestial: str, time_of_day: str, terrain: str) -> None:
    water = "sea" if terrain == "sea" else "none"
    empty = Attributes(time_of_day, terrain, water=water, clouds="clear", celestial="none")
    scenes = [sample_scenes(6, 4, aspect=1.5, attributes=[a] * 6) for a in (empty, replace(empty, celestial=celestial))]
    shown = scenes[1].numbers
    assert (shown["orb_x"] > shown["orb_radius"]).all()
    assert (shown["orb_x"] < 1.5 - shown["orb_radius"]).all()
    assert (render(scenes[1], SIZE).amax(1) - render(scenes[0], SIZE).amax(1)).amax((1, 2)).min() > 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [("clouds", "few"), ("clouds", "many"), ("mist", "mist"), ("trees", "firs"), ("trees", "broadleaf"),
     ("water", "lake"), ("season", "autumn")],
)  # fmt: skip
def test_an_attribute_is_seen_in_the_picture(field: str, value: str) -> None:
    plain = Attributes("noon", "hills", clouds="clear", celestial="none")
    difference = (picture(plain) - picture(replace(plain, **{field: value}))).abs().mean((1, 2, 3))
    assert difference.min() > 0.003
    assert difference.mean() > 0.015


def test_every_value_is_sampled_and_the_words_go_together() -> None:
    drawn = sample_scenes(600, 1).attributes
    for field, values in ATTRIBUTE_VALUES.items():
        assert {getattr(a, field) for a in drawn} == set(values)
    for a in drawn:
        assert not (a.celestial == "sun" and a.time_of_day in ("dusk", "night"))
        assert not (a.celestial not in ("sun", "none") and a.time_of_day in ("morning", "noon"))
        assert not (a.snow == "snow" and a.terrain in ("dunes", "sea"))
        assert a.terrain != "sea" or a.water == "sea"
        assert a.terrain != "forest" or a.trees != "none"


def test_time_moves_clouds_and_water_but_not_the_land() -> None:
    land = Attributes("noon", "mountains", clouds="clear", celestial="none")
    assert torch.equal(picture(land), picture(land, time=30.0))
    for moving in (replace(land, clouds="many"), replace(land, water="lake"), replace(land, celestial="sun")):
        assert (picture(moving) - picture(moving, time=30.0)).abs().mean() > 0.001


def test_time_may_differ_from_scene_to_scene() -> None:
    scenes = sample_scenes(3, 2)
    mixed = render(scenes, SIZE, time=torch.tensor([0.0, 5.0, 9.0]))
    for i, seconds in enumerate((0.0, 5.0, 9.0)):
        torch.testing.assert_close(mixed[i], render(scenes, SIZE, time=seconds)[i], atol=1e-4, rtol=0)


def test_edges_are_about_one_pixel_wide() -> None:
    """Down a column, from sky to hill, colour jumps from one pixel to the next: as much at 512 px as at 64."""
    crest = Attributes("noon", "hills", clouds="clear", celestial="none")
    for height in (64, 512):
        column = picture(crest, size=(height, 16))[:, :, :, 8]
        step = (column[:, :, 1:] - column[:, :, :-1]).abs().sum(1)
        assert step.amax(1).min() > 0.03


def test_wrong_values_are_refused_with_a_clear_message() -> None:
    with pytest.raises(ValueError, match="terrain is 'moon'"):
        Attributes(terrain="moon")
    with pytest.raises(ValueError, match="count is 0"):
        sample_scenes(0, 1)
    with pytest.raises(ValueError, match="count is 2, with 1"):
        sample_scenes(2, 1, attributes=[Attributes()])
    with pytest.raises(ValueError, match="nothing to draw"):
        render(sample_scenes(1, 1), (64, 64), box=(4, 4, 4, 8))


def test_cells_around_sun_and_moon_hold_all_of_them() -> None:
    shown = [Attributes(celestial=c, time_of_day=t, clouds="clear") for c, t in (("sun", "noon"), ("moon", "night"))]
    lit = sample_scenes(3, 7, aspect=2.0, attributes=[*shown, Attributes(celestial="stars", time_of_day="night")])
    other = replace(lit, numbers=lit.numbers | {"orb_colour": 1 - lit.numbers["orb_colour"]})
    size = (64, 128)
    before, after = (render(scenes, size, time=20.0) for scenes in (lit, other))
    changed = torch.nn.functional.max_pool2d((before != after).any(1).float()[:, None], 8)[:, 0] > 0
    near = around_orb(lit, size, (0, 0, *size), (8, 8), 1 / 8, 20.0)
    assert not (changed & ~near).any()
    assert changed.any((1, 2)).tolist() == [True, True, False]
    assert near.float().mean((1, 2)).tolist() == pytest.approx([0.2, 0.2, 0.0], abs=0.15)
    assert not near[2].any()
    assert torch.equal(around_orb(lit, size, (16, 32, 64, 96), (8, 8), 1 / 8, 20.0), near[:, 2:, 4:12])
    oblong = around_orb(lit, size, (0, 0, *size), (8, 16), 1 / 8, 20.0)
    assert oblong.shape == (3, 8, 8)
    pairs = near.unflatten(2, (8, 2))
    assert not (oblong & ~pairs.any(3)).any(), "cells twice as wide, by their middles"
    assert not (~oblong & pairs.all(3)).any()

"""Each part of the evaluation finds what is there: seams, drift, missing likeness, words that are not followed."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from training.attributes import ATTRIBUTE_VALUES
from training.datasets import to_uint8
from training.evaluation import films, likelihood, seams, text
from training.evaluation.frechet import CANVASES, blocks, distance_rows, diversity_row
from training.evaluation.panoramas import disagreement, drift_row, drifts, horizon, palette_distance
from training.evaluation.prompts import EvaluationPrompt, evaluation_prompts, scenes_for
from training.evaluation.setting import Setting, held_out_captions
from training.losses import CanvasLoss
from training.sources import TokenBatch


class PaintedGallery:
    """Stands in for the drawn pictures: rendered scenes true to the prompts, or noise with seams in one order."""

    def __init__(self, setting: Setting, seamed: str = "") -> None:
        self.setting, self.seamed = setting, seamed

    def draw(
        self, name: str, prompts: Sequence[str | None], width: int, height: int, order: str = "auto", seed: int = 0
    ) -> Tensor:
        known = {p.prompt: p for p in evaluation_prompts()}
        if all(p in known for p in prompts):
            return self.setting.rendered_as(scenes_for([known[str(p)] for p in prompts]), text.RENDERED)
        rng = torch.Generator().manual_seed(0)
        pixels = torch.randn(len(prompts), 3, height, width, generator=rng) * 0.1
        if order == self.seamed:
            half = width // 2
            pixels[..., half:] += 0.9
        return to_uint8(pixels)


def features(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift


def test_blocks_are_cut_at_native_size_row_by_row() -> None:
    picture = torch.arange(6).view(1, 1, 2, 3).repeat_interleave(256, 2).repeat_interleave(256, 3)
    picture = picture[..., :700].expand(1, 3, -1, -1)  # what does not fill a block is left out
    cut = blocks(picture)
    assert cut.shape == (4, 3, 256, 256)
    assert [int(block.unique()) for block in cut] == [0, 1, 3, 4]


def test_pictures_like_the_rendered_ones_are_at_the_floor_and_others_far_above() -> None:
    rendered = [features(400, seed) for seed in range(3)]
    alike, floor = distance_rows(CANVASES[0], features(400, 9), rendered, 400)
    other, _ = distance_rows(CANVASES[0], features(400, 9, shift=1.0), rendered, 400)
    assert alike.name == "frechet_256x256"
    assert alike.goal == pytest.approx(3 * floor.value)
    assert alike.met
    assert not other.met
    assert other.value == pytest.approx(4, rel=0.2)  # shifted by 1 in 4 dimensions
    few, _ = distance_rows(CANVASES[1], features(4, 9), [features(4, seed) for seed in range(3)], 1)
    assert few.name == "block_frechet_1024x256"
    assert few.goal is None
    assert "too few" in few.note


def test_pictures_that_are_all_alike_are_not_diverse() -> None:
    rendered = [features(50, seed) for seed in range(3)]
    assert diversity_row(features(50, 9), rendered).value == pytest.approx(1, abs=0.1)
    assert diversity_row(features(50, 9) * 0.01, rendered).value < 0.02


def test_only_the_order_with_seams_misses_the_goal(setting: Setting) -> None:
    setting.gallery = PaintedGallery(setting, seamed="omega")  # type: ignore[assignment]
    rows = {row.name: row for row in seams.measure(setting).rows}
    missed = {name for name, row in rows.items() if row.met is False}
    assert missed == {"seams_omega_vertical"}
    assert rows["seams_rendered_horizontal"].goal is None
    assert rows["seams_zeta_vertical"].value == pytest.approx(1, abs=0.04)


def film(step_px: int, noise: float = 0.0) -> Tensor:
    """Frames of a striped picture whose camera goes step_px to the right each time."""
    rng = torch.Generator().manual_seed(0)
    wide = torch.rand(3, 64, 200, generator=rng)
    frames = torch.stack([wide[..., i * step_px : i * step_px + 64] for i in range(4)])
    return to_uint8(frames + torch.randn(frames.shape, generator=rng) * noise)[None]


def test_a_film_flickers_where_it_should_stand_and_a_pan_is_told_from_none() -> None:
    assert films.changed(film(0), 0, 8).item() == 0
    assert films.changed(film(0, noise=0.2), 0, 8).item() > 0.9
    assert films.changed(film(8), 8, 8).item() == 0
    assert films.pan_row(film(8), film(8), 8).value == pytest.approx(0, abs=1e-6)
    assert not films.pan_row(film(0, noise=0.1), film(8), 8).met
    assert films.change_row(films.STILL, film(0), film(0, noise=0.1), 8).met


def test_the_horizon_is_where_a_picture_falls_in_two() -> None:
    pixels = torch.full((2, 3, 40, 30), 0.4)
    pixels[0, :, 10:] = -0.5
    pixels[1, 1, 30:] = -0.1
    pixels += torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)) * 0.05
    assert horizon(pixels).tolist() == [0.25, 0.75]


def test_palettes_differ_by_colours_and_not_by_places() -> None:
    a = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    assert palette_distance(a, a.flip(-1)).item() == pytest.approx(0, abs=1e-6)
    assert palette_distance(a, a + 0.4).item() == pytest.approx(0.2, abs=1e-6)


def test_disagreement_is_the_share_unlike_the_most_frequent() -> None:
    assert disagreement(["noon"] * 4) == 0
    assert disagreement(["noon", "dawn", "noon", "dusk"]) == 0.5


def test_a_panorama_that_changes_from_left_to_right_drifts(setting: Setting) -> None:
    steady = torch.full((1, 3, 256, 1024), 0.6)
    steady[:, :, 150:] = -0.4
    moving = steady.clone()
    moving[..., 512:] = -0.9
    moving[:, :, :90, 512:] = 0.2
    found = drifts(setting, to_uint8(torch.cat([steady, moving])))
    assert all(values[0] == pytest.approx(0, abs=1e-6) for values in found.values())
    assert found["horizon"][1] == pytest.approx(60 / 256, abs=0.01)
    assert found["palette"][1] > 0.1
    assert found["time_of_day"][1] == 0.5
    assert not drift_row("palette", found["palette"], found["palette"][:1]).met
    assert drift_row("palette", found["palette"][:1], found["palette"]).met


def test_pictures_true_to_their_prompts_reach_the_ceiling(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CEILING_SCENES", 6)
    prompts = [*evaluation_prompts()[:3], *evaluation_prompts()[-3:]]
    setting.gallery = PaintedGallery(setting)  # type: ignore[assignment]
    rows, told = text.measure_prompts(setting, prompts)
    by_name = {row.name: row for row in rows}
    assert [one["prompt"] for one in told] == [p.prompt for p in prompts]
    assert by_name["text_given_share_of_ceiling"].value == pytest.approx(1, abs=0.02)


def test_prompts_that_state_nothing_are_only_read(setting: Setting) -> None:
    setting.gallery = PaintedGallery(setting)  # type: ignore[assignment]
    rows, told = text.measure_prompts(setting, [EvaluationPrompt("anything", {}, "given")])
    assert rows == []
    assert set(told[0]["read"]) >= {"time_of_day", "terrain"}


def test_a_model_that_knows_true_words_finds_their_scenes_likelier(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, read_caption: Callable[[str], dict[str, set[str]]]
) -> None:
    class Knowing(CanvasLoss):
        def __call__(self, batch: TokenBatch, order: str, prompts: Sequence[str | None], **kwargs: object) -> Tensor:  # type: ignore[override]
            lies = [
                sum(getattr(shown, name) not in values for name, values in read_caption(str(prompt)).items())
                for prompt, shown in zip(prompts, batch.shows, strict=True)
            ]
            return torch.tensor(lies) * 0.1

    monkeypatch.setattr(likelihood, "CanvasLoss", Knowing)
    rows = {row.name: row for row in likelihood.likelihood_rows(setting)}
    assert set(rows) == {"text_likelier", *(f"text_likelier_{name}" for name in ATTRIBUTE_VALUES)}
    assert rows["text_likelier"].value > 0.95, "a full moon is a moon, too: a false word need not be a lie"
    assert rows["text_likelier_season"].pictures == likelihood.TOGETHER


def test_held_out_captions_are_always_the_same_however_many() -> None:
    assert held_out_captions(5, 1) == held_out_captions(20, 1)[:5]
    assert held_out_captions(5, 1) != held_out_captions(5, 2)

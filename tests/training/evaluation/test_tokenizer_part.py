"""Pictures through the tokenizer: any size, broken ones named, stars counted where they are."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from model.generate import Model
from training.datasets import to_float, to_uint8
from training.evaluation import survival
from training.evaluation.metrics import luminance, point_contrast
from training.evaluation.stars import VISIBLE, measure_stars, night_scenes
from training.evaluation.survival import Survey, survive, through_tokenizer
from training.evaluation.tokenizer import measure_folder
from training.evaluation.webp import webp_within
from training.folders import DataError

CPU = torch.device("cpu")


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_strips_give_what_the_whole_gives(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = noise(200, 48)
    whole, tokens = through_tokenizer(model.tokenizer, picture, CPU)
    monkeypatch.setattr(survival, "STRIP_PX", 48 * 24)
    strips, strip_tokens = through_tokenizer(model.tokenizer, picture, CPU)
    assert torch.equal(tokens, strip_tokens)
    assert (whole.int() - strips.int()).abs().max() <= 1  # rounding to 8 bits
    assert torch.equal(whole, to_uint8(model.tokenizer.decode(tokens[None]))[0])


def test_webp_fills_the_bytes_it_is_given() -> None:
    picture = to_uint8(torch.linspace(-1, 1, 96).expand(3, 64, 96) * 0.5 + to_float(noise(64, 96)) * 0.2)
    small, large = webp_within(picture, 400), webp_within(picture, 2000)
    assert small.size <= 400
    assert small.size < large.size <= 2000
    assert small.quality < large.quality
    error = [(to_float(w.pixels) - to_float(picture)).square().mean() for w in (small, large)]
    assert error[1] < error[0]
    assert webp_within(picture, 10).quality == 0  # none is so small: the smallest
    with pytest.raises(ValueError, match="16383"):
        webp_within(noise(1, 16_384), 100)


def test_a_perfect_tokenizer_scores_as_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        survival, "through_tokenizer", lambda t, p, d: (p, torch.arange(64).view(8, 8) % t.config.codebook_size)
    )
    survey = Survey("scenes", model.config.tokenizer.codebook_size)
    survey.add(survive(model.tokenizer, "a", noise(64, 64), CPU))
    rows = {row.name: row for row in survey.rows()}
    assert rows["tokenizer_psnr_scenes"].value > 90
    assert rows["tokenizer_psnr_scenes"].met
    assert rows["tokenizer_ssim_scenes"].value == pytest.approx(1)
    assert rows["tokenizer_sharpness_scenes"].value == pytest.approx(1)
    assert rows["tokenizer_codes_used_scenes"].value == pytest.approx(64 / model.config.tokenizer.codebook_size)
    bits = torch.tensor(model.config.tokenizer.codebook_size).log2().item() / 64
    assert rows["tokenizer_bits_per_pixel_scenes"].value == pytest.approx(bits, rel=0.02)
    assert rows["webp_psnr_scenes"].value < 40


def test_a_folder_may_hold_pictures_of_any_kind_and_broken_ones(model: Model, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.effect_noise((61, 43), 40).save(tmp_path / "grey.png")
    Image.new("RGBA", (40, 32), (200, 10, 10, 100)).save(tmp_path / "deep" / "see-through.png")
    Image.new("RGB", (15, 200)).save(tmp_path / "narrow.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("not a picture")
    survey, skipped = measure_folder(model, tmp_path)
    assert [(p["file"], p["width"], p["height"]) for p in survey.pictures] == [
        ("deep/see-through.png", 40, 32),
        ("grey.png", 56, 40),
    ]
    assert {s.file for s in skipped} == {"broken.jpg", "cut.png", "narrow.png"}
    assert all(row.goal is None for row in survey.rows())
    with pytest.raises(DataError):
        measure_folder(model, tmp_path / "nowhere")


def test_stars_are_where_they_are_said_to_be() -> None:
    scenes, places = night_scenes(3, 128, CPU)
    assert sum(len(p) for p in places) > 20
    for scene, stars in zip(scenes, places, strict=True):
        assert (point_contrast(scene, stars) > VISIBLE).all()
        light = luminance(scene)
        for row, column in stars.tolist():
            near = light[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            assert light[row, column] == near.max()


def test_stars_that_a_blur_takes_are_not_counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_is(tokenizer: object, picture: torch.Tensor, device: object) -> tuple[torch.Tensor, torch.Tensor]:
        return picture, torch.zeros(32, 32, dtype=torch.long)

    def blurred(tokenizer: object, picture: torch.Tensor, device: object) -> tuple[torch.Tensor, torch.Tensor]:
        soft = torch.nn.functional.avg_pool2d(picture.float(), 9, 1, 4)
        return soft.to(torch.uint8), torch.zeros(32, 32, dtype=torch.long)

    monkeypatch.setattr(survival, "through_tokenizer", as_is)
    assert measure_stars(model.tokenizer, 2, CPU)[0].value == 1
    monkeypatch.setattr(survival, "through_tokenizer", blurred)
    assert measure_stars(model.tokenizer, 2, CPU)[0].value < 0.1

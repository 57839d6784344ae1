"""Training batches: windows with their place on the canvas, films whose camera moves by whole tokens, own pictures."""

import random

import pytest
import torch
from torch import Tensor

from canvas.grid import Grid
from model.config import PRESETS
from model.tokenizer import Tokenizer
from training import outlines, scenes, sketch_batches, sources
from training.sketch_batches import SketchSource
from training.sources import Motion, TokenBatch, TokenSource, Window

CPU = torch.device("cpu")
NANO = PRESETS["nano"]  # patches of 4 x 4 tokens, 32 px


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(NANO.tokenizer).eval()


def source(tokenizer: Tokenizer, **changes: object) -> TokenSource:
    return TokenSource(tokenizer, NANO, CPU, 0, **changes)  # type: ignore[arg-type]


def sketch_source(tokenizer: Tokenizer, **changes: object) -> SketchSource:
    return SketchSource(source(tokenizer, **changes))


def test_a_window_knows_its_place_on_a_larger_canvas(tokenizer: Tokenizer) -> None:
    batch = source(tokenizer).render(Window(1.0, 2, 3, 8, 12), seed=5)
    assert batch.tokens.shape == (64 // 6, 1, 8, 12)
    top, bottom, left, right = batch.place[0].T.reshape(4, 2, 3)
    assert torch.allclose(bottom - top, torch.tensor(1 / 8))
    assert torch.allclose(right - left, torch.tensor(1 / 12))
    assert torch.equal(bottom[0], top[1])
    assert torch.equal(right[:, 0], left[:, 1])
    assert float(top.min()) * 8 == pytest.approx(round(float(top.min()) * 8))


def test_a_film_that_pans_shows_the_same_tokens_further_left(tokenizer: Tokenizer, monkeypatch: object) -> None:
    monkeypatch.setattr(sources, "PANS", (1,))  # type: ignore[attr-defined]
    monkeypatch.setattr(sources, "FRAME_TIMES_S", (0.0,))  # type: ignore[attr-defined]
    batch = source(tokenizer).render(Window(1.0, 3, 4, 3, 4, frames=2), seed=1)
    assert batch.motion == Motion(1, 0.0)
    first, second = batch.tokens[:, 0], batch.tokens[:, 1]
    # away from the sides, where the encoder sees the padding
    assert torch.equal(first[:, :, 5:-4], second[:, :, 4:-5])
    assert not torch.equal(first, second)
    assert batch.place.shape == (64 // 24, 24, 4)


def test_sun_and_moon_and_what_a_pan_brings_in_count_more(tokenizer: Tokenizer, monkeypatch: object) -> None:
    monkeypatch.setattr(sources, "PANS", (-1,))  # type: ignore[attr-defined]
    film = source(tokenizer).render(Window(1.0, 3, 4, 3, 4, frames=2), seed=1)
    assert film.weights is not None
    assert film.weights.shape == film.tokens.shape
    assert (film.weights[:, 1, :, 0] == sources.RIM_WEIGHT).all()
    shown = source(tokenizer, patches=64).render(Window(1.0, 2, 2, 2, 2), seed=1)
    lone = source(tokenizer, patches=8, lone=1.0)
    lone._kept.extend([shown] * 16)
    for batch in (shown, lone.next()):
        assert batch.weights is not None
        assert batch.weights.shape == batch.tokens.shape
        assert set(batch.weights.unique().tolist()) == {1.0, sources.ORB_WEIGHT}
        orbless = torch.tensor([getattr(a, "celestial", "") in ("none", "stars") for a in batch.shows])
        assert (batch.weights[orbless] == 1).all()


def test_films_say_how_they_move(tokenizer: Tokenizer) -> None:
    still = source(tokenizer).render(Window(1.0, 1, 1, 1, 1), seed=0)
    film = TokenBatch(still.tokens, 1, 1, still.place, still.shows, Motion(-1, 2.0))
    texts = [text for seed in range(20) for text in film.prompts(1000 * seed) if text is not None]
    said = [t for t in texts if "left" in t]
    assert 0.6 < len(said) / len(texts) < 0.95
    assert not [t for t in texts if "right" in t.replace("bright", "")]
    assert [t for t in texts if "time-lapse" in t]


def test_films_are_not_told_apart_by_what_they_show(tokenizer: Tokenizer) -> None:
    still = source(tokenizer).render(Window(1.0, 1, 1, 1, 1), seed=0)
    film = source(tokenizer).render(Window(1.0, 1, 1, 1, 1, frames=2), seed=0)
    assert (still.contrastable, film.contrastable) == (True, False)


def test_pictures_that_are_not_scenes_have_no_false_captions(tokenizer: Tokenizer) -> None:
    made = source(tokenizer, windows=(Window(1.0, 2, 2, 2, 2),), pictures=OwnPictures(), pictures_share=1.0)
    batch = made.next()
    assert not batch.contrastable
    with pytest.raises(ValueError, match="known of scenes only"):
        batch.true_and_false(0)


def test_the_same_seed_gives_the_same_batches(tokenizer: Tokenizer) -> None:
    windows = (Window(0.5, 1, 2, 1, 2), Window(0.5, 1, 1, 2, 4, frames=2))
    a, b = (source(tokenizer, windows=windows, patches=4) for _ in range(2))
    for _ in range(4):
        x, y = a.next(), b.next()
        assert torch.equal(x.tokens, y.tokens)
        assert x.shows == y.shows


class OwnPictures:
    def random_crop(
        self, rng: random.Random, height: int, width: int
    ) -> tuple[Tensor, tuple[float, float, float, float], str | None, Tensor]:
        top = rng.choice((0.0, 0.5))
        whole = torch.full((3, 2 * height, width), 200, dtype=torch.uint8)
        return whole[:, :height], (top, top + 0.5, 0.0, 1.0), "A lake.", whole


def test_own_pictures_are_cut_with_their_places_and_called_photographs(tokenizer: Tokenizer) -> None:
    own = source(tokenizer, windows=(Window(1.0, 2, 2, 2, 2),), pictures=OwnPictures(), pictures_share=1.0, patches=32)
    batch = own.next()
    assert batch.place.shape == (8, 4, 4)
    assert {float(t) for t in batch.place[:, 0, 0]} == {0.0, 0.5}
    assert all("photo" in text and "lake" in text for text in batch.prompts(0) if text is not None)


def test_lone_patches_come_from_many_pictures_each_with_its_own_place_and_words(tokenizer: Tokenizer) -> None:
    made = source(tokenizer, patches=12, lone=1.0)
    windows = [Window(1.0, 3, 4, 6, 8)] * 16 + [Window(1.0, 2, 2, 2, 2, frames=2)]
    whole = [made.render(window, seed) for seed, window in enumerate(windows)]
    made._kept.extend(whole)
    batch = made.next()
    assert batch.tokens.shape == (12, 1, 4, 4)
    assert batch.place.shape == (12, 1, 4)
    pictures: dict[tuple[tuple[int, ...], tuple[float, ...]], list[object]] = {}
    for one in whole[:16]:
        for tokens, places, shown in zip(one.tokens[:, 0], one.place, one.shows, strict=True):
            for number, place in enumerate(places):
                row, column = divmod(number, one.columns)
                patch = tokens[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                pictures.setdefault((tuple(patch.flatten().tolist()), tuple(place.tolist())), []).append(shown)
    for tokens, place, shown in zip(batch.tokens, batch.place, batch.shows, strict=True):
        assert shown in pictures[tuple(tokens.flatten().tolist()), tuple(place[0].tolist())]
    assert len(set(batch.shows)) > 6


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds do not move, whatever the time of a scene."""
    for user in (sources, outlines):
        monkeypatch.setattr(user, "render", lambda s, size, box=None, time=0.0: scenes.render(s, size, box=box))


@pytest.mark.usefixtures("timeless")
def test_the_sketch_of_a_picture_is_all_of_it_in_the_tokens_of_one_patch(tokenizer: Tokenizer) -> None:
    window = Window(1.0, 2, 4, 2, 4)
    batch = source(tokenizer).render(window, seed=3)
    pixels = scenes.render(scenes.sample_scenes(8, 3, aspect=2.0), (64, 128))
    squeezed = torch.nn.functional.interpolate(pixels, (32, 32), mode="area")
    assert batch.sketches is not None
    assert torch.equal(batch.sketches.tokens, torch.cat([tokenizer.encode(p[None]) for p in squeezed]))
    assert batch.sketches.aspects.tolist() == [2.0] * 8
    half = torch.nn.functional.interpolate(pixels, (32, 64), mode="area")
    assert batch.sketches.drafts is not None
    assert torch.equal(batch.sketches.drafts, torch.cat([tokenizer.encode(p[None]) for p in half]))
    assert torch.equal(batch.sketches.followed, batch.sketches.drafts)


@pytest.mark.usefixtures("timeless")
def test_the_sketch_of_a_window_is_that_of_its_canvas(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours of the canvas in its four quarters, whichever part of it the window shows."""
    made = source(tokenizer, patches=4)
    squeezed = []
    squeeze = made.outliner.squeeze
    monkeypatch.setattr(made.outliner, "squeeze", lambda *asked: squeezed.append(squeeze(*asked)) or squeezed[-1])
    made.render(Window(1.0, 1, 2, 8, 16), seed=3)
    small, draft = squeezed
    whole = scenes.render(scenes.sample_scenes(2, 3, aspect=2.0), (256, 512))
    quarters = torch.nn.functional.adaptive_avg_pool2d(whole, 2)
    assert torch.allclose(torch.nn.functional.adaptive_avg_pool2d(small, 2), quarters, atol=1e-3)
    assert draft.shape == (2, 3, 128, 256), "half of the canvas, drawn in as many pixels"


def test_batches_of_sketches_are_whole_pictures_with_their_captions(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketch_batches, "NEW_SKETCHES", 16)
    made = sketch_source(tokenizer, windows=(Window(1.0, 2, 2, 2, 2),), patches=24)
    first, batch = made.sketches(), made.sketches()
    assert batch.aspects is not None
    assert batch.aspects.tolist() == [1.0] * 24
    assert batch.place[:, 0].tolist() == [[0.0, 1.0, 0.0, 1.0]] * 24
    known, given = (
        [(t.numpy().tobytes(), s) for t, s in zip(b.tokens[:, 0], b.shows, strict=True)] for b in (first, batch)
    )
    new, earlier = given[:16], given[16:]
    assert not set(new) & set(known), "few pictures seen again and again would be known by heart"
    assert set(earlier) <= set(known) | set(new)


def test_batches_of_drafts_follow_the_sketch_or_the_draft_before(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketch_batches, "NEW_DRAFTS", 4)
    made = sketch_source(tokenizer, windows=(Window(1.0, 4, 8, 4, 8),), patches=24)
    batches = [made.drafts() for _ in range(12)]
    assert {(b.rows, b.columns) for b in batches} == {(1, 2), (2, 4)}
    for batch in batches:
        first, count = batch.rows == 1, len(batch.shows)
        assert count == 24 // (batch.rows * batch.columns)
        assert batch.tokens.shape == (count, 1, 4 * batch.rows, 4 * batch.columns)
        assert batch.place[0, -1].tolist() == [1 - 1 / batch.rows, 1.0, 1 - 1 / batch.columns, 1.0]
        assert batch.aspects is not None
        assert batch.aspects.tolist() == [2.0] * count
        assert batch.sketches is not None
        assert batch.sketches.followed.shape == ((count, 4, 4) if first else (count, 4, 8))
        lit = [shown.celestial not in ("none", "stars") for shown in batch.shows]
        assert batch.weights is not None
        assert (batch.weights > 1).flatten(1).any(1).tolist() == lit, "suns and moons count more"


def test_of_a_large_draft_a_batch_has_a_part_in_its_place(tokenizer: Tokenizer) -> None:
    """The tokens of the whole draft where the part says that it lies, but for what the encoder sees at the borders."""
    made = sketch_source(tokenizer, windows=(Window(1.0, 4, 4, 4, 4),), patches=16)
    grid = Grid(1, 4, 64, NANO.patch_px)
    whole = [made.render(grid, 4, 1, seed=3)[0] for _ in range(6)]
    assert {tuple(draft.tokens.shape) for draft in whole} == {(8, 32)}
    lefts = {round(float(draft.place[0, 2]) * 32) for draft in whole}
    assert len(lefts) > 1
    assert all(draft.before is not None and draft.before.shape == (4, 64) for draft in whole)
    for draft in whole:
        assert torch.allclose(draft.place[:, 3] - draft.place[:, 2], torch.tensor(1 / 32))


def test_whoever_trains_on_own_pictures_alone_is_given_sketches_of_these_alone(tokenizer: Tokenizer) -> None:
    window = Window(1.0, 3, 3, 3, 3)
    made = sketch_source(tokenizer, windows=(window,), pictures=OwnPictures(), pictures_share=1.0, patches=4)
    batches = [made.sketches() for _ in range(3)]
    assert batches[-1].aspects is not None
    assert batches[-1].aspects.tolist() == [0.5] * 4
    assert all("lake" in (text or "") for batch in batches for text in batch.prompts(0))
    draft = made.drafts()
    assert draft.tokens.shape[2] >= draft.tokens.shape[3], "as high as the picture"
    assert draft.aspects is not None
    assert set(draft.aspects.tolist()) == {0.5}
    assert all("lake" in (text or "") for text in draft.prompts(0))

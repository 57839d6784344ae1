"""What is measured is what it is said to be."""

import torch

from benchmarks.models import LITTLE, Desk, in_turn, random_model
from benchmarks.wavefront import Drawing, busy


def test_a_desk_draws_the_same_patches_again_and_again():
    desk = Desk(random_model(LITTLE), rows=2)
    before = len(desk.decoder.pool)
    desk.draw()
    first = [canvas.tokens.clone() for canvas, _ in desk.batch]
    desk.prefill()
    desk.draw()
    assert len(desk.decoder.pool) == before == 2 * 4
    for (canvas, _), tokens in zip(desk.batch, first, strict=True):
        torch.testing.assert_close(canvas.tokens, tokens, rtol=0, atol=0)


def test_every_patch_of_a_desk_has_its_four_nearby_patches():
    desk = Desk(random_model(LITTLE), rows=1)
    [(canvas, patch)] = desk.batch
    assert len(canvas.nearby(patch)) == 4
    assert desk.context == desk.words + 4 * LITTLE.transformer.tokens_per_patch


def test_the_line_furthest_behind_is_advanced_next():
    assert list(in_turn((6, 2))) == [0, 1, 0, 0, 0, 1, 0, 0]


def test_a_drawing_takes_as_many_rounds_as_the_formula_says():
    drawing = Drawing(random_model(LITTLE), rows=3, columns=4, slots=8)
    while len(drawing.canvas.done) < 12:
        drawing.advance()
    assert drawing.batches == 4 + 2 * (3 - 1)
    assert 0 < drawing.decoder.pool.high_water <= drawing.pages


def test_slots_are_busier_with_two_jobs_than_with_one():
    assert busy(jobs=1, slots=4) == 64 / (4 * 22)
    assert busy(jobs=2, slots=4) >= 0.93

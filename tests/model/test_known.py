"""Known pixels: the tokens they fix are kept, given patches look like drawn ones, and new pixels meet them."""

import numpy as np
import pytest
import torch

from canvas.controller import Layout, choose_orders, lay_out, plan_task
from canvas.grid import Box, Patch
from canvas.order import ORDERS
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, draw_phases
from model.known import known_tokens, meet, window
from model.pixels import final_pixels
from model.sampling import Sampling

SAMPLING = Sampling(temperature=1.0, top_p=0.95, cfg_scale=2.0)


class Noise:
    """Random pixels everywhere, known inside a box."""

    def __init__(self, box: Box, size: int = 400) -> None:
        self.box = box
        self.pixels = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)

    def window(self, frame: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        known = np.zeros(self.pixels.shape[:2], np.bool_)
        known[self.box.top : self.box.bottom, self.box.left : self.box.right] = True
        rows, columns = np.arange(box.top, box.bottom), np.arange(box.left, box.right)
        inside = (rows >= 0)[:, None] & (columns >= 0)
        return self.pixels[rows[:, None], columns], known[rows[:, None], columns] & inside & (frame == 0)


def started(decoder: PatchDecoder, layout: Layout, known: Noise) -> Canvas:
    plan = plan_task(layout, decoder.extent, choose_orders(layout, decoder.extent, list(ORDERS)))
    return decoder.start_plan("job", plan, "snowy lake", SAMPLING, 3, known)


def test_tokens_inside_the_known_pixels_stay_and_the_others_are_drawn(model: Model) -> None:
    """32-pixel patches of 8-pixel tokens; 70x50 pixels are given, 45 added on the left and 30 at the bottom."""
    layout = lay_out(115, 80, model.config.patch_px, Box(45, 0, 115, 50))
    known, decoder = Noise(layout.known), PatchDecoder(model)
    canvas = started(decoder, layout, known)
    draw_phases(decoder, canvas)
    assert canvas.done | canvas.plan.given == set(canvas.grid)
    fixed_tokens = 0
    for patch in canvas.grid:
        tokens, fixed = known_tokens(model.tokenizer, known, 0, canvas.grid.box(patch))
        assert bool(fixed.all()) == (patch in canvas.plan.given)
        assert torch.equal(decoder.tokens(canvas, patch)[fixed.flatten()], tokens[fixed])
        fixed_tokens += int(fixed.sum())
    assert fixed_tokens == (layout.known.right - layout.known.left) // 8 * (layout.known.bottom // 8)


def test_a_patchs_tokens_are_those_of_the_whole_picture_encoded_at_once(model: Model) -> None:
    px = model.config.patch_px
    known = Noise(Box(0, 0, 400, 400))
    whole = model.tokenizer.encode(window(known, 0, Box(0, 0, 4 * px, 4 * px), torch.device("cpu"))[0][None])[0]
    tokens, _ = known_tokens(model.tokenizer, known, 0, Box(px, px, 2 * px, 2 * px))
    m = model.config.transformer.patch_tokens
    assert torch.equal(tokens, whole[m : 2 * m, m : 2 * m])


def test_a_given_patch_leaves_the_states_of_a_patch_drawn_with_these_tokens(model: Model) -> None:
    px = model.config.patch_px
    layout = lay_out(3 * px, 2 * px, px, Box(0, 0, px, 2 * px))
    first = PatchDecoder(model)
    canvas = started(first, layout, Noise(layout.known))
    top, below = Patch(0, 0, 0), Patch(0, 1, 0)
    for patch in (top, below):
        first.prefill([(canvas, patch, first.tokens(canvas, patch))])
    second = PatchDecoder(model)
    forced = started(second, layout, Noise(layout.known))
    for patch in (top, below):  # decoded, though every token of it is fixed
        second.decode([(forced, patch)])
    for key, page in first.pool._pages.items():
        assert torch.equal(first.pool.storage[:, page], second.pool.storage[:, second.pool._pages[key]])


@pytest.mark.parametrize("step", ["torch", "auto"])
def test_a_patch_with_fixed_tokens_changes_nothing_beside_it(model: Model, step: str) -> None:
    px = model.config.patch_px
    layout = lay_out(2 * px, px, px, Box(0, 0, px // 2, px))
    layout = Layout(2 * px, px, layout.grid, (0, 0), layout.given)
    results = []
    for beside in (False, True):
        decoder = PatchDecoder(model, step=step)
        plain = decoder.start("plain", layout.grid, "zeta", "snowy lake", SAMPLING, 9)
        batch = [(plain, Patch(0, 0, 0))]
        if beside:
            batch.insert(0, (started(decoder, layout, Noise(layout.known)), Patch(0, 0, 0)))
        results.append(decoder.decode(batch)[-1])
    assert torch.equal(*results)


def test_a_patch_that_does_not_exist_has_no_tokens(model: Model) -> None:
    layout = lay_out(96, 32, model.config.patch_px, Box(0, 0, 32, 32))
    decoder = PatchDecoder(model)
    canvas = started(decoder, layout, Noise(layout.known))
    with pytest.raises(KeyError, match="does not exist yet"):
        decoder.tokens(canvas, Patch(0, 0, 2))


def test_new_pixels_meet_known_ones_and_far_ones_stay(model: Model) -> None:
    """The decoder is wrong by 0.3 everywhere: beside known pixels that is made good, half a canvas away it is not."""
    truth = torch.linspace(-0.5, 0.5, 96).expand(3, 96, 96)
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[:, :32] = True
    met = meet(truth - 0.3, truth, mask)
    assert torch.equal(met[:, mask], truth[:, mask])
    error = (truth - met)[0, 48]
    assert error[32:35].abs().max() < 0.04
    assert (error[32:].diff() > -0.01).all(), "it fades out"
    assert torch.allclose(error[64:], torch.tensor(0.3), atol=0.01)


def test_without_a_difference_nothing_is_carried_over() -> None:
    smooth = torch.linspace(-0.5, 0.5, 96).expand(3, 96, 96)
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[20:70, 40:] = True
    assert torch.allclose(meet(smooth, smooth, mask), smooth, atol=1e-6)


def test_pixels_far_from_known_ones_are_rendered_as_ever(model: Model) -> None:
    px = model.config.patch_px
    layout = lay_out(4 * px, px, px, Box(0, 0, px, px))
    decoder = PatchDecoder(model)
    canvas = started(decoder, layout, Noise(layout.known))
    draw_phases(decoder, canvas)
    far, near = Patch(0, 0, 3), Patch(0, 0, 1)
    with_known = final_pixels(decoder, canvas, [far, near])
    canvas.known = None
    without = final_pixels(decoder, canvas, [far, near])
    assert torch.equal(with_known[0], without[0])
    assert not torch.equal(with_known[1], without[1])


def test_a_film_that_begins_with_a_given_picture_is_drawn_from_it_and_only_its_first_frame_is_known(
    model: Model,
) -> None:
    px = model.config.patch_px
    layout = lay_out(2 * px, px, px, Box(0, 0, 2 * px, px), frames=3)
    results = []
    for known in (Noise(layout.known), Noise(layout.known), Noise(layout.known, 300)):
        decoder = PatchDecoder(model)
        canvas = started(decoder, layout, known)
        for patch in canvas.grid:
            if patch.frame == 0:
                decoder.prefill([(canvas, patch, decoder.tokens(canvas, patch))])
            else:
                decoder.decode([(canvas, patch)])
        _, fixed = known_tokens(model.tokenizer, known, 1, canvas.grid.box(Patch(1, 0, 0)))
        assert not fixed.any()
        results.append(canvas.tokens)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0][1], results[2][1]), "another picture, another film"

"""Decoding patch by patch: the same tokens whatever is decoded beside, before or after a crash."""

from dataclasses import replace

import pytest
import torch

from canvas.grid import Extent, Grid, Patch
from canvas.order import ORDERS
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, continue_canvas, generate
from model.pixels import final_pixels, first_pixels, sketch_pixels
from model.sampling import Sampling
from model.tokenizer import Tokenizer
from training.losses import nearby_table, scan_patches

SAMPLING = Sampling(temperature=1.0, top_k=0, top_p=0.95, cfg_scale=2.0)
PROMPT = "snowy mountains at sunset lake"


def run(decoder: PatchDecoder, grid: Grid, order: str = "zeta", prompt: str | None = PROMPT, seed: int = 3) -> Canvas:
    canvas = decoder.start(f"job-{seed}", grid, order, prompt, SAMPLING, seed)
    for _ in continue_canvas(decoder, canvas):
        pass
    return canvas


@pytest.mark.parametrize("order", list(ORDERS))
def test_every_patch_is_drawn_once_and_the_pool_ends_empty(model: Model, order: str) -> None:
    decoder, grid = PatchDecoder(model), Grid(1, 3, 4, model.config.patch_px)
    patches = list(generate(decoder, grid, order, PROMPT, SAMPLING, seed=1))
    assert sorted(p.patch for p in patches) == sorted(grid)
    assert [p.done for p in patches] == sorted(p.done for p in patches)
    assert patches[-1].done == patches[-1].total == 12
    assert len(decoder.pool) == 0


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("order", list(ORDERS))
def test_teacher_forced_training_pass_agrees_with_decoding_from_the_pool(model: Model, order: str, frames: int) -> None:
    """With temperature 0 and no guidance, each token drawn is the argmax of the training pass over the finished
    canvas.
    """
    decoder, grid = PatchDecoder(model), Grid(frames, 3, 3, model.config.patch_px)
    canvas = decoder.start("greedy", grid, order, PROMPT, Sampling(temperature=0.0), 0)
    for _ in continue_canvas(decoder, canvas):
        pass
    patches = scan_patches(canvas.tokens[None], 3, 3, model.transformer, order)
    index, corners = nearby_table(grid, order, decoder.extent.within(grid), torch.device("cpu"))
    place = torch.tensor([canvas.place(p) for p in grid])[None]
    view = model.transformer.read_sketch(canvas.outline.sketch.view(1, -1), sketch_pixels(decoder, canvas)[None])
    told = model.transformer.sketched(view, place, order) * (corners[:, 0] == 0)[:, None, None]
    logits = model.transformer(patches, model.words([PROMPT]), order, index, corners, place, beside=told)
    drawn = logits.gather(-1, patches[..., None]).squeeze(-1)
    # the pool keeps 16 bits, so a near tie may fall the other way
    assert (logits.max(-1).values - drawn).max() < 0.05


def test_prefill_of_a_patchs_own_tokens_gives_the_states_that_decoding_left(model: Model) -> None:
    grid = Grid(1, 2, 3, model.config.patch_px)
    first, second = PatchDecoder(model), PatchDecoder(model)
    drawn, replayed = (d.start("job", grid, "zeta", PROMPT, SAMPLING, 5) for d in (first, second))
    for patch in ORDERS["zeta"].sequence(grid):
        (tokens,) = first.decode([(drawn, patch)])
        second.prefill([(replayed, patch, tokens)])
        for row in range(2):
            page = first.pool.storage[:, first.pool.page(("job", patch, row))]
            again = second.pool.storage[:, second.pool.page(("job", patch, row))]
            assert torch.equal(page, again)
    assert torch.equal(drawn.tokens, replayed.tokens)


def test_a_patch_is_the_same_alone_and_beside_patches_of_other_jobs(model: Model) -> None:
    grid = Grid(1, 2, 2, model.config.patch_px)
    alone = run(PatchDecoder(model), grid, seed=7)
    decoder = PatchDecoder(model)
    canvases = [
        decoder.start(f"job-{s}", grid, o, p, SAMPLING, s)
        for s, o, p in ((1, "omega", None), (7, "zeta", PROMPT), (9, "zeta_star", "night forest"))
    ]
    for patches in zip(*(c.order.sequence(grid) for c in canvases), strict=True):
        decoder.decode(list(zip(canvases, patches, strict=True)))
    assert torch.equal(canvases[1].tokens, alone.tokens)


def test_replay_after_a_crash_goes_on_with_the_same_tokens(model: Model) -> None:
    grid = Grid(1, 3, 4, model.config.patch_px)
    whole = run(PatchDecoder(model), grid)
    for cut in (1, 5, 11):
        decoder = PatchDecoder(model)
        canvas = decoder.start("job", grid, "zeta", PROMPT, SAMPLING, 3)
        for patch in list(ORDERS["zeta"].sequence(grid))[:cut]:
            decoder.prefill([(canvas, patch, decoder.tokens(whole, patch))])
        for _ in continue_canvas(decoder, canvas):
            pass
        assert torch.equal(canvas.tokens, whole.tokens)


def test_removing_contexts_after_their_last_use_changes_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(1, 4, 3, model.config.patch_px)
    kept = run(PatchDecoder(model), grid)
    decoder = PatchDecoder(model)
    monkeypatch.setattr(decoder, "remove", lambda canvas, patch: None)
    never_removed = run(decoder, grid)
    assert len(decoder.pool) == 2 * len(grid)
    assert torch.equal(kept.tokens, never_removed.tokens)


@pytest.mark.parametrize("order", list(ORDERS))
def test_shifting_a_canvas_changes_no_logit(model: Model, order: str) -> None:
    """Four patches anywhere on an endless canvas: only differences of their places count."""
    generator = torch.Generator().manual_seed(1)
    m, v = model.config.transformer.patch_tokens, model.config.tokenizer.codebook_size
    patches = torch.randint(v, (1, 4, m * m), generator=generator)
    index, corners = nearby_table(Grid(1, 2, 2, 1), order, Extent(0, 1, 1), torch.device("cpu"))
    place = torch.full((1, 4, 4), float("nan"))
    here, there = (
        model.transformer(patches, model.words([PROMPT]), order, index, c, place)
        for c in (corners, corners + torch.tensor([3, 17, 1000]))
    )
    assert torch.allclose(here, there, atol=1e-3)  # angles of distant tokens are rounded to 32 bits


def test_noise_does_not_depend_on_the_size_of_the_canvas(model: Model) -> None:
    """Under zeta without canvas coordinates the first patch of any canvas is the same for one seed."""
    firsts = []
    for columns in (1, 4):
        decoder = PatchDecoder(model)
        grid = Grid(1, 2, columns, model.config.patch_px)
        canvas = decoder.start("job", grid, "zeta", None, SAMPLING, 11)
        canvas.place = lambda patch: [float("nan")] * 4  # type: ignore[method-assign]
        firsts.append(decoder.decode([(canvas, Patch(0, 0, 0))])[0])
    assert torch.equal(*firsts)


def test_a_different_seed_gives_a_different_picture(model: Model) -> None:
    grid = Grid(1, 2, 2, model.config.patch_px)
    assert not torch.equal(run(PatchDecoder(model), grid, seed=1).tokens, run(PatchDecoder(model), grid, seed=2).tokens)


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_patches_that_look_at_each_other_cannot_be_decoded_together(model: Model, step: str) -> None:
    decoder = PatchDecoder(model, step=step)
    canvas = decoder.start("job", Grid(1, 1, 2, model.config.patch_px), "zeta", PROMPT, SAMPLING, 0)
    with pytest.raises(KeyError):
        decoder.decode([(canvas, patch) for patch in canvas.grid])
    assert len(decoder.pool) == 0
    assert not canvas.done


def test_a_full_pool_is_an_error_that_says_so(model: Model) -> None:
    decoder = PatchDecoder(model, pages=3)
    canvas = decoder.start("job", Grid(1, 1, 2, model.config.patch_px), "zeta", PROMPT, SAMPLING, 0)
    decoder.decode([(canvas, Patch(0, 0, 0))])
    with pytest.raises(MemoryError, match="1 of 3 are free"):
        decoder.decode([(canvas, Patch(0, 0, 1))])
    assert len(decoder.pool) == 2
    assert canvas.done == {Patch(0, 0, 0)}, "a batch that fails leaves nothing behind"


@pytest.mark.parametrize("coarse", [1, 3])  # with 3 blocks it looks a whole patch around
def test_refined_pixels_are_those_of_the_whole_canvas(model: Model, coarse: int) -> None:
    shape = replace(model.config.tokenizer, decoder_blocks=(1, coarse))
    tokenizer = Tokenizer(shape).eval().requires_grad_(False)
    model = replace(model, config=replace(model.config, tokenizer=shape), tokenizer=tokenizer)
    grid = Grid(1, 3, 3, model.config.patch_px)
    decoder = PatchDecoder(model)
    canvas = run(decoder, grid)
    whole = model.tokenizer.decode(canvas.tokens)[0]
    together = final_pixels(decoder, canvas, list(grid))
    for patch, pixels in zip(grid, together, strict=True):
        box = grid.box(patch)
        part = whole[:, box.top : box.bottom, box.left : box.right]
        assert torch.allclose(pixels, part, atol=1e-5)
        assert torch.allclose(final_pixels(decoder, canvas, [patch])[0], pixels, atol=1e-5)


def test_first_pixels_of_a_patch_do_not_depend_on_what_else_is_done(model: Model) -> None:
    grid = Grid(1, 3, 3, model.config.patch_px)
    decoder = PatchDecoder(model)
    canvas = decoder.start("job", grid, "zeta", PROMPT, SAMPLING, 3)
    early = {}
    for step in continue_canvas(decoder, canvas):
        early[step.patch] = first_pixels(decoder, canvas, step.patch)
    for patch, pixels in early.items():
        assert torch.equal(first_pixels(decoder, canvas, patch), pixels)


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_later_frames_are_drawn_with_a_min_p_of_their_own(model: Model, step: str) -> None:
    """With 1 nothing but the likeliest token stays, as with temperature 0; the first frame is drawn as ever."""
    grid = Grid(2, 2, 2, model.config.patch_px)
    decoders = [PatchDecoder(model, step=step) for _ in range(3)]
    samplings = [Sampling(later_min_p=1.0), Sampling(), Sampling(temperature=0.0)]
    film, free, greedy = (d.start("job", grid, "zeta", PROMPT, s, 5) for d, s in zip(decoders, samplings, strict=True))
    greedy.sketch_view = film.sketch_view  # its own sketch is drawn greedily too
    for patch in ORDERS["zeta"].sequence(grid):
        [[tokens], [freely]] = decoders[0].decode([(film, patch)]), decoders[1].decode([(free, patch)])
        if patch.frame == 0:
            assert torch.equal(tokens, freely)
            decoders[2].prefill([(greedy, patch, tokens)])
        else:
            [likeliest] = decoders[2].decode([(greedy, patch)])
            assert torch.equal(tokens, likeliest)
            assert not torch.equal(tokens, freely)


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_of_a_film_the_first_frame_alone_is_guided_and_takes_two_pages(model: Model, step: str) -> None:
    grid, (first, later) = Grid(2, 1, 1, model.config.patch_px), (Patch(0, 0, 0), Patch(1, 0, 0))
    decoders = [PatchDecoder(model, step=step) for _ in range(2)]
    guided, plain = (
        decoder.start("job", grid, "zeta", PROMPT, Sampling(cfg_scale=scale), 5)
        for decoder, scale in zip(decoders, (4.0, 1.0), strict=True)
    )
    [tokens] = decoders[0].decode([(guided, first)])
    assert len(decoders[0].pool) == 2
    plain.sketch_view = guided.sketch_view  # its own sketch is another one
    decoders[1].prefill([(plain, first, tokens)])
    [[of_guided], [of_plain]] = (d.decode([(c, later)]) for d, c in zip(decoders, (guided, plain), strict=True))
    assert torch.equal(of_guided, of_plain)
    assert len(decoders[0].pool) == 3
    for patch in (first, later):
        decoders[0].remove(guided, patch)
    assert len(decoders[0].pool) == 0


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_guidance_in_one_pass_takes_one_page_a_patch_and_is_told_its_scale(model: Model, step: str) -> None:
    decoder, grid, first = PatchDecoder(model, step=step), Grid(1, 2, 2, model.config.patch_px), Patch(0, 0, 0)

    def tokens(sampling: Sampling, prompt: str | None = PROMPT) -> tuple[list[int], int]:
        held = len(decoder.pool)
        canvas = decoder.start(f"job {sampling} {prompt}", grid, "zeta", prompt, sampling, 5)
        [drawn] = decoder.decode([(canvas, first)])
        taken = len(decoder.pool) - held
        decoder.remove(canvas, first)
        return drawn.tolist(), taken

    two, one, more = (Sampling(cfg_scale=s, distilled=d) for s, d in ((3.0, False), (3.0, True), (5.0, True)))
    assert [tokens(s)[1] for s in (two, one, more)] == [2, 1, 1]
    assert len({tuple(tokens(s)[0]) for s in (Sampling(), two, one, more)}) == 4, "each draws otherwise"
    assert tokens(Sampling(distilled=True)) == tokens(Sampling()), "a scale of 1 is no guidance"
    assert tokens(one, None) == tokens(Sampling(), None), "without a prompt there is none"
    for scale in (0.5, 5.1):
        with pytest.raises(ValueError, match=rf"from 1 to 5, got {scale}"):
            tokens(Sampling(cfg_scale=scale, distilled=True))


@pytest.mark.parametrize("step", ["auto", "torch"])
def test_stills_and_films_share_a_batch_and_change_nothing_in_each_other(model: Model, step: str) -> None:
    """Their patches look at up to 4 and up to 13 others."""
    grids = [Grid(1, 2, 2, model.config.patch_px), Grid(3, 2, 2, model.config.patch_px)]

    def alone(grid: Grid) -> Canvas:
        return run(PatchDecoder(model, step=step), grid, seed=grid.frames)

    decoder = PatchDecoder(model, step=step)
    still, film = (decoder.start(f"{g.frames}", g, "zeta", PROMPT, SAMPLING, g.frames) for g in grids)
    patches = list(grids[1])
    for patch in patches[:8]:
        decoder.decode([(film, patch)])
    for patch, of_film in zip(grids[0], patches[8:], strict=True):  # all 13 are there for the last of them
        decoder.decode([(still, patch), (film, of_film)])
    assert torch.equal(still.tokens, alone(grids[0]).tokens)
    assert torch.equal(film.tokens, alone(grids[1]).tokens)

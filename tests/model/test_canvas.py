"""What two threads share of a canvas: its tokens, and which patches there are."""

import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from canvas.grid import Grid, Patch
from model.generate import Model, PatchDecoder
from model.sampling import Sampling


@pytest.fixture
def often_interrupted() -> Iterator[None]:
    """Threads take turns after microseconds instead of milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@torch.inference_mode()
def test_tokens_are_copies_at_every_width_and_only_of_patches_that_are_there(model: Model) -> None:
    decoder = PatchDecoder(model)
    for columns in (1, 3):
        grid = Grid(2, 2, columns, model.config.patch_px)
        canvas = decoder.start("job", grid, "zeta", None, Sampling(), 0)
        patch, tokens = Patch(1, 1, 0), torch.arange(decoder.config.tokens_per_patch)
        assert canvas.get(patch) is None
        canvas.put(patch, tokens)
        got = canvas.get(patch)
        assert got is not None
        assert torch.equal(got, tokens)
        canvas.tokens.zero_()
        assert torch.equal(got, tokens)
        canvas.forget(0)
        assert canvas.get(patch) is not None
        canvas.forget(1)
        assert canvas.get(patch) is None


@pytest.mark.usefixtures("often_interrupted")
def test_frames_are_forgotten_in_one_thread_while_patches_come_in_another(model: Model) -> None:
    """Without the lock some of 4,000 patches get lost, or a set changes while it is looked through."""
    decoder = PatchDecoder(model)
    grid = Grid(250, 4, 4, model.config.patch_px)
    canvas = decoder.start("job", grid, "zeta", None, Sampling(), 0)
    tokens = torch.zeros(decoder.config.tokens_per_patch, dtype=torch.long)
    over = threading.Event()
    failed: list[BaseException] = []

    @torch.inference_mode()
    def forget() -> None:
        try:
            while not over.is_set():
                canvas.forget(0)
        except BaseException as error:
            failed.append(error)

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    with torch.inference_mode():
        for patch in grid:
            canvas.put(patch, tokens)
    over.set()
    forgetting.join()
    canvas.forget(0)
    assert not failed
    assert canvas.done == {patch for patch in grid if patch.frame > 0}

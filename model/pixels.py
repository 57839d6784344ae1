"""The pixels of patches that are drawn: first ones at once, final ones when all that touches a patch exists."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from canvas.grid import Patch
from model.canvas import Canvas
from model.generate import PatchDecoder
from model.known import pixels_beside_known
from model.tokenizer import trimmed

# Tokens around a patch that its first pixels look at. They are 35.6 dB from the final ones with 1, 36.3 with 2 for a
# quarter more time, 36.5 with all 6 that those look at, 32.9 with none.
FIRST_HALO = 1

Around = Callable[[Patch], Iterable[Patch]]


@torch.inference_mode()
def first_pixels(decoder: PatchDecoder, canvas: Canvas, patch: Patch) -> Tensor:
    """Pixels of one patch, [3, px, px] in [-1, 1], from its tokens and a narrow halo of those around it.

    The halo holds only patches that exist whenever this one is drawn (Plan.around), so the pixels do not depend on what
    else is done. Beside known pixels, new ones are brought to meet them.
    """
    beside = _beside_known(decoder, canvas, patch, canvas.plan.around)
    if beside is not None:
        return beside
    halo = min(FIRST_HALO, decoder.model.config.tokenizer.halo)
    return _decoded(decoder, canvas, [patch], canvas.plan.around, halo)[0]


@torch.inference_mode()
def sketch_pixels(decoder: PatchDecoder, canvas: Canvas) -> Tensor | None:
    """The whole canvas as its last draft, or else its sketch, has it, [3, h, w] in [-1, 1].

    None where pixels are known, for they show better what it is to become.
    """
    if canvas.outline is None or canvas.known is not None:
        return None
    return decoder.pixels.decode(canvas.outline.shown[None])[0]


@torch.inference_mode()
def final_pixels(decoder: PatchDecoder, canvas: Canvas, patches: Sequence[Patch]) -> list[Tensor]:
    """Pixels of the finished picture, [3, px, px] in [-1, 1] for each patch. All that touch one must exist.

    Those of one block of two by two patches are decoded together, which takes half the time (most of what a patch alone
    is decoded from is halo) and gives the same bits.
    """
    around, halo = canvas.grid.touching, decoder.model.config.tokenizer.halo
    done: dict[Patch, Tensor] = {}
    blocks: dict[tuple[int, int, int], list[Patch]] = {}
    for patch in patches:
        beside = _beside_known(decoder, canvas, patch, around)
        if beside is None:
            blocks.setdefault((patch.frame, patch.row // 2, patch.column // 2), []).append(patch)
        else:
            done[patch] = beside
    for block in blocks.values():
        done.update(zip(block, _decoded(decoder, canvas, block, around, halo), strict=True))
    return [done[patch] for patch in patches]


def _decoded(
    decoder: PatchDecoder, canvas: Canvas, patches: Sequence[Patch], around: Around, halo: int
) -> list[Tensor]:
    """Pixels of neighbouring patches of one frame, decoded in one go."""
    m, px = decoder.config.patch_tokens, decoder.model.config.patch_px
    tokens, known = (trimmed(t, m - halo) for t in _tokens_around(decoder, canvas, patches, around))
    pixels = decoder.pixels.decode(tokens[None], known[None], halo)[0]
    top, left = min(p.row for p in patches), min(p.column for p in patches)
    places = [((p.row - top) * px, (p.column - left) * px) for p in patches]
    return [pixels[:, down : down + px, right : right + px] for down, right in places]


def _beside_known(decoder: PatchDecoder, canvas: Canvas, patch: Patch, around: Around) -> Tensor | None:
    """Pixels of a patch that has known ones in reach, brought to meet them; else None."""
    if canvas.known is None:
        return None
    tokens, made = _tokens_around(decoder, canvas, [patch], around)
    box = canvas.grid.box(patch)
    return pixels_beside_known(decoder.model.tokenizer, tokens, made, canvas.known, patch.frame, box)


def _tokens_around(
    decoder: PatchDecoder, canvas: Canvas, patches: Sequence[Patch], around: Around
) -> tuple[Tensor, Tensor]:
    """Tokens of the rectangle that patches span, one patch wider on every side, and where there are any.

    One shape for so many patches at every place, also at the canvas's edges.
    """
    m = decoder.config.patch_tokens
    top, left = min(p.row for p in patches) - 1, min(p.column for p in patches) - 1
    rows, columns = max(p.row for p in patches) + 2 - top, max(p.column for p in patches) + 2 - left
    tokens = torch.zeros(rows * m, columns * m, dtype=torch.long, device=canvas.tokens.device)
    known = torch.zeros(rows * m, columns * m, dtype=torch.bool, device=canvas.tokens.device)
    for other in {*patches, *(near for patch in patches for near in around(patch))}:
        down, right = (other.row - top) * m, (other.column - left) * m
        tokens[down : down + m, right : right + m] = decoder.tokens(canvas, other).view(m, m)
        known[down : down + m, right : right + m] = True
    return tokens, known

"""Do generated pictures look like rendered ones? Frechet distances in the classifier's features, and diversity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from torch import Tensor

from training.evaluation.figures import sheet
from training.evaluation.metrics import frechet_distance, mean_pairwise_distance
from training.evaluation.pictures import SERVED, Gallery
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.setting import Setting, held_out_captions

BLOCK_PX = 256  # what the classifier was trained on
RENDERED_SETS = 3  # each pair of them gives a floor, each of them a distance: their means vary less than one would
CAPTIONS_SEED = 1
DISTILLED_WORSE = 1.05  # times the distance with guidance in two passes: as much as one pass may cost
SHOWN = 12


@dataclass(frozen=True)
class Canvas:
    """A size to draw at, one picture for every `of` prompts, and how many times the floor its distance may be."""

    width: int
    height: int
    of: int
    times_floor: float


CANVASES = (Canvas(256, 256, 1, 3.0), Canvas(1024, 256, 8, 4.0), Canvas(512, 512, 8, 4.0))


def blocks(pictures: Tensor) -> Tensor:
    """[N, 3, H, W] -> all whole blocks of 256x256 at native size, [N * rows * columns, 3, 256, 256]."""
    cut = pictures.unfold(2, BLOCK_PX, BLOCK_PX).unfold(3, BLOCK_PX, BLOCK_PX)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def measure(setting: Setting) -> Part:
    """Each of CANVASES: the distance of generated pictures to rendered ones, beside that between rendered ones."""
    part = Part()
    for number, canvas in enumerate(CANVASES):
        size, count = f"{canvas.width}x{canvas.height}", setting.counts.share(canvas.of, 2)
        captions = held_out_captions(count, CAPTIONS_SEED)
        drawn = setting.gallery.draw(f"pictures of {size}", captions, canvas.width, canvas.height)
        found = setting.features(blocks(drawn))
        offsets = [100_000 + 10_000 * (number * RENDERED_SETS + i) for i in range(RENDERED_SETS)]
        rendered = [setting.rendered(count, canvas.width, canvas.height, offset)[0] for offset in offsets]
        sets = [setting.features(blocks(pictures)) for pictures in rendered]
        part.rows += distance_rows(canvas, found, sets, count)
        if number == 0:
            part.rows.append(diversity_row(found, sets))
            if setting.model.config.transformer.distilled_scale >= SERVED.cfg_scale:
                part.rows.append(distilled_row(setting, captions, found, sets))
            part.figures.append(Figure("drawn, 256x256, the first of the set", sheet(drawn[:SHOWN], 4)))
            part.figures.append(Figure("rendered, 256x256, the first of a set", sheet(rendered[0][:SHOWN], 4)))
        else:
            part.figures.append(Figure(f"drawn, {size}", sheet(drawn[:4], 1 if canvas.width > canvas.height else 2)))
    return part


def distance_rows(canvas: Canvas, drawn: Tensor, rendered: list[Tensor], pictures: int) -> list[Row]:
    """drawn and each of rendered: features [N, F] of equally many blocks of `pictures` canvases."""
    whole = (canvas.width, canvas.height) == (BLOCK_PX, BLOCK_PX)
    name = f"{'frechet' if whole else 'block_frechet'}_{canvas.width}x{canvas.height}"
    what = "Frechet distance" if whole else "Frechet distance of 256x256 blocks"
    label = f"{what}, {canvas.width}x{canvas.height}"
    distances = [frechet_distance(drawn, features) for features in rendered]
    floors = [frechet_distance(a, b) for a, b in combinations(rendered, 2)]
    value, floor = fmean(distances), fmean(floors)
    count, dimensions = drawn.shape
    note = f"{value / max(floor, 1e-12):.2f} x the floor; {count} against {count} in {dimensions} dimensions"
    goal: float | None = canvas.times_floor * floor
    if count <= dimensions:
        goal, note = None, f"{note}: too few to say anything, covariances lack rank here and in the floor"
    return [
        Row(name, label, value, "", "lower", goal, pictures, None, note),
        Row(
            f"{name}_floor", f"{label}: floor", floor, "", "lower", None, pictures,
            note=f"between rendered sets: {min(floors):.3g} to {max(floors):.3g}",
        ),
    ]  # fmt: skip


def distilled_row(setting: Setting, captions: Sequence[str], guided: Tensor, rendered: list[Tensor]) -> Row:
    """The distance of pictures drawn to the same captions with guidance in one pass."""
    gallery = Gallery(setting.model, setting.gallery.folder, setting.slots, replace(SERVED, distilled=True))
    found = setting.features(gallery.draw("pictures in one pass", captions, BLOCK_PX, BLOCK_PX))
    value, two = (fmean(frechet_distance(drawn, r) for r in rendered) for drawn in (found, guided))
    label, note = "Frechet distance, 256x256, guidance in one pass", f"{value / two:.3f} x that with two"
    goal = DISTILLED_WORSE * two if len(captions) > found.shape[1] else None
    return Row("frechet_256x256_distilled", label, value, "", "lower", goal, len(captions), None, note)


def diversity_row(drawn: Tensor, rendered: list[Tensor]) -> Row:
    """How unlike each other drawn pictures are, over how unlike each other rendered ones are."""
    of_rendered = fmean(mean_pairwise_distance(features) for features in rendered)
    value = mean_pairwise_distance(drawn) / of_rendered
    note = "mean distance of two pictures' features; 1 = as diverse as rendered scenes"
    return Row("diversity_256x256", "diversity, 256x256", value, "of rendered", "higher", None, len(drawn), None, note)

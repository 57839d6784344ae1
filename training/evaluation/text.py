"""Do pictures show what their prompts say? Read by the classifier, which is itself read against rendered scenes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from training.attributes import ATTRIBUTE_VALUES
from training.evaluation.classifier import compare
from training.evaluation.figures import bars, confusions, sheet
from training.evaluation.likelihood import likelihood_rows
from training.evaluation.prompts import EvaluationPrompt, evaluation_prompts, scenes_for, swapped_prompts
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.scores import AttributeScores, attribute_scores, swap_score
from training.evaluation.setting import Setting

SIDE_PX = 256
GOALS = {"caption": 0.92, "unseen": 0.85, "swapped": 0.92}  # of the classifier's own ceiling
TOLD = {"caption": "words of captions", "unseen": "words no caption has", "given": "given prompts"}
SHOWN = 12  # pictures of each kind in the report
CEILING_SCENES = 200  # rendered at least, for the ceiling of a set of prompts
RENDERED = 330_000  # offset of the scenes that the ceiling is read off


def measure(setting: Setting) -> Part:
    """Prompts in the captions' words, in words foreign to them, and with two attributes swapped; then likelihoods."""
    half = setting.counts.share(2, 1)
    kinds = {kind: [p for p in evaluation_prompts() if p.kind == kind][:half] for kind in ("caption", "unseen")}
    part = _classifier_part(setting)
    for kind, prompts in kinds.items():
        pictures, read = _draw_and_read(setting, prompts, f"prompts, {kind}")
        ceiling = _ceiling(setting, prompts)
        scores = _scores(prompts, read, ceiling)
        part.rows += score_rows(kind, scores, ceiling, len(prompts))
        groups = {"drawn pictures": scores.accuracy, "rendered scenes": ceiling.accuracy}
        part.figures.append(Figure(f"{TOLD[kind]}: readings as the prompt says", bars(groups, "share")))
        part.figures += shots(prompts[:SHOWN], pictures, read)
    part.rows += _swapped_rows(setting)
    part.rows += likelihood_rows(setting)
    return part


def measure_prompts(setting: Setting, prompts: Sequence[EvaluationPrompt]) -> tuple[list[Row], list[dict[str, Any]]]:
    """Anyone's prompts: rows of those that state attributes, and for each prompt what was read off its picture."""
    _, read = _draw_and_read(setting, prompts, "prompts")
    told = [
        {"prompt": p.prompt, "expected": p.expected, "read": reading} for p, reading in zip(prompts, read, strict=True)
    ]
    judged = [p for p in prompts if p.expected]
    if not judged:
        return [], told
    ceiling = _ceiling(setting, judged)
    readings = [reading for p, reading in zip(prompts, read, strict=True) if p.expected]
    scores = _scores(judged, readings, ceiling)
    return score_rows("given", scores, ceiling, len(judged)), told


def score_rows(kind: str, scores: AttributeScores, ceiling: AttributeScores, count: int) -> list[Row]:
    """The share of the ceiling, what it is the share of, and the accuracy of each attribute."""
    assert scores.share is not None
    what = TOLD[kind]
    rows = [
        Row(
            f"text_{kind}_share_of_ceiling", f"attributes as the words say, {what}", scores.share, "of ceiling",
            "higher", GOALS.get(kind), count, scores.share_interval, "the ceiling: scenes rendered to the same words",
        ),
        Row(
            f"text_{kind}_accuracy", f"accuracy, {what}", scores.mean, "share", "higher", None, count, scores.interval,
            f"{ceiling.mean:.3f} on rendered scenes",
        ),
    ]  # fmt: skip
    for name, value in scores.accuracy.items():
        note = f"{ceiling.accuracy[name]:.3f} on rendered scenes"
        label = f"{name.replace('_', ' ')}, {what}"
        rows.append(Row(f"text_{kind}_{name}", label, value, "share", "higher", None, scores.stated[name], None, note))
    return rows


def shots(prompts: Sequence[EvaluationPrompt], pictures: Tensor, read: Sequence[dict[str, str]]) -> list[Figure]:
    """Each picture with its prompt, and what was read otherwise than it says."""
    figures = []
    for prompt, picture, reading in zip(prompts, pictures, read, strict=False):
        wrong = [
            f"{name.replace('_', ' ')} {reading[name]}, not {value}"
            for name, value in prompt.expected.items()
            if reading[name] != value
        ]
        figures.append(Figure(f"{prompt.prompt}{' (read: ' + '; '.join(wrong) + ')' if wrong else ''}",
                              sheet(picture[None], 1), small=True))  # fmt: skip
    return figures


def _draw_and_read(
    setting: Setting, prompts: Sequence[EvaluationPrompt], name: str
) -> tuple[Tensor, list[dict[str, str]]]:
    pictures = setting.gallery.draw(name, [p.prompt for p in prompts], SIDE_PX, SIDE_PX)
    return pictures, setting.read(pictures)


def _ceiling(setting: Setting, prompts: Sequence[EvaluationPrompt]) -> AttributeScores:
    """What the classifier reads off scenes rendered to the same words: nothing drawn can be read better.

    Each prompt as often as it takes to make CEILING_SCENES: few prompts would make a ceiling of chance.
    """
    rounds = -(-CEILING_SCENES // len(prompts))
    shown = [scene for i in range(rounds) for scene in scenes_for(prompts, seed=i * len(prompts))]
    read = setting.read(setting.rendered_as(shown, RENDERED))
    return attribute_scores([p.expected for p in prompts] * rounds, read)


def _scores(
    prompts: Sequence[EvaluationPrompt], read: Sequence[dict[str, str]], ceiling: AttributeScores
) -> AttributeScores:
    """Beside the ceiling; an attribute that was never read rightly counts as one that hardly ever can be."""
    reachable = {name: max(value, 0.01) for name, value in ceiling.accuracy.items()}
    return attribute_scores([p.expected for p in prompts], read, reachable)


def _classifier_part(setting: Setting) -> Part:
    """How well the classifier reads held-out rendered scenes as they come."""
    count = max(CEILING_SCENES, setting.counts.prompts)
    pixels, shown = setting.rendered(count, SIDE_PX, SIDE_PX, RENDERED + 10_000)
    found = compare(shown, setting.read(pixels))
    rows = [
        Row(
            f"classifier_{name}", f"classifier's own accuracy: {name.replace('_', ' ')}", value, "share", "higher",
            None, len(shown),
        )
        for name, value in found.accuracy.items()
    ]  # fmt: skip
    tables = {name: (ATTRIBUTE_VALUES[name], counts) for name, counts in found.confusion.items()}
    caption = "the classifier on rendered scenes: % of each value shown (down) that is read as (across)"
    return Part(rows, [Figure(caption, confusions(tables))])


def _swapped_rows(setting: Setting) -> list[Row]:
    pairs = swapped_prompts()[: setting.counts.share(10, 2)]
    prompts = [prompt for pair in pairs for prompt in pair]
    _, read = _draw_and_read(setting, prompts, "prompts, swapped")
    rendered = setting.read(setting.rendered_as(scenes_for(prompts), RENDERED + 20_000))
    expected = [(a.expected, b.expected) for a, b in pairs]
    drawn, ceiling = (
        swap_score(expected, list(zip(readings[::2], readings[1::2], strict=True))) for readings in (read, rendered)
    )
    count = len(prompts)
    note = f"{ceiling.readings:.3f} on rendered scenes"
    return [
        Row(
            "text_swapped_share_of_ceiling", "attributes as the words say, two of them swapped",
            drawn.readings / max(ceiling.readings, 1e-9), "of ceiling", "higher", GOALS["swapped"], count, note=note,
        ),
        Row(
            "text_swapped_follow", "pairs that follow the words in all four readings", drawn.follows, "share",
            "higher", None, count, note=f"{ceiling.follows:.3f} of rendered pairs",
        ),
        Row(
            "text_swapped_exchanged", "readings that show the other prompt's value", drawn.exchanged, "share", "lower",
            None, count, note=f"{ceiling.exchanged:.3f} on rendered scenes",
        ),
    ]  # fmt: skip

"""Runs the parts of the evaluation, and keeps what each has found: a part can be run alone, or again."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.evaluation import films, frechet, given, panoramas, seams, speed, suns, text, tokenizer
from training.evaluation.report import Chapter, report
from training.evaluation.rows import Part, Row
from training.evaluation.setting import Setting


@dataclass(frozen=True)
class PartKind:
    """A part of the evaluation: its title in the report, and what measures it."""

    title: str
    measure: Callable[[Setting], Part]


PARTS = {
    "tokenizer": PartKind("Tokenizer: pixels to tokens and back", tokenizer.measure),
    "text": PartKind("Text: do pictures show what the words say?", text.measure),
    "picture": PartKind("Picture: do generated scenes look like rendered ones?", frechet.measure),
    "seams": PartKind("Seams: can one see where patches meet?", seams.measure),
    "suns": PartKind("Suns: are they drawn where the sketch has them, and round?", suns.measure),
    "range": PartKind("Long range: is a panorama one picture?", panoramas.measure),
    "given": PartKind("Given pixels: does what is drawn go on from them?", given.measure),
    "films": PartKind("Films: do they hold still, and move as they are told?", films.measure),
    "speed": PartKind("Losses and speed", speed.measure),
}


def evaluate(setting: Setting, parts: Sequence[str] = tuple(PARTS)) -> list[Row]:
    """Measure these parts, then write report.html and evaluation.json of all that is known of these weights.

    What other runs into the same folder found for the same weights stays in the report. Returns all of its rows.
    Raises ValueError for an unknown part.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    setting.out.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if name in parts:
            started = time.monotonic()
            part = PARTS[name].measure(setting)
            device, prompts = setting.device.type, setting.counts.prompts
            told = f"Measured in {time.monotonic() - started:.0f} s on {device}, in proportion to {prompts} prompts."
            _write(_kept(setting, name), json.dumps({"told": told, "part": part.to_text()}))
            write_report(setting)
    return [row for chapter in chapters(setting) for row in chapter.part.rows]


def chapters(setting: Setting) -> list[Chapter]:
    """All parts that were measured for these weights."""
    found = []
    for name, kind in PARTS.items():
        if (file := _kept(setting, name)).exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            found.append(Chapter(kind.title, kept["told"], Part.from_text(kept["part"])))
    return found


def write_report(setting: Setting) -> None:
    """report.html and evaluation.json."""
    known = chapters(setting)
    config = setting.model.config
    told = f"Weights {setting.model.version}; all on scenes and photographs never trained on."
    _write(setting.out / "report.html", report(f"Evaluation of {config.name}", told, known))
    rows = [row.as_json() for chapter in known for row in chapter.part.rows]
    _write(setting.out / "evaluation.json", json.dumps(rows, indent=2) + "\n")


def _kept(setting: Setting, part: str) -> Path:
    return setting.out / "parts" / setting.model.version / f"{part}.json"


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".tmp").write_text(text, encoding="utf-8")
    os.replace(file.with_suffix(".tmp"), file)

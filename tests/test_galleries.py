"""Galleries: what their scripts would draw is valid, shows every task, and keeps what is said about the pictures."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from docs import draw_galleries
from jobs.request import GenerateRequest, Task
from training.gallery import ENTRIES, request

ROOT = Path(__file__).parents[1]


def test_every_task_is_shown_by_three_requests_that_are_valid() -> None:
    asked = [request(seed) for seed in range(len(ENTRIES))]
    asked += [entry.request for entries in draw_galleries.GALLERIES.values() for entry in entries]
    shown = Counter(GenerateRequest.model_validate(body).resolved_task for body in asked)
    assert all(shown[task] >= 3 for task in Task), shown


def test_photographs_in_galleries_were_not_trained_on() -> None:
    training = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    held_out = re.findall(r"^\| (\S+) \(held out\) \|", training, re.MULTILINE)
    entries = [entry for gallery in draw_galleries.GALLERIES.values() for entry in gallery]
    photos = {entry.photo for entry in entries if entry.photo is not None}
    assert len(photos) >= 3
    for photo in photos:
        assert any(source in photo.credit for source in held_out), photo.credit


@pytest.mark.parametrize("name", ["films", "outpainting"])
def test_a_new_table_takes_the_place_of_the_old_one_alone(name: str) -> None:
    readme = (ROOT / "docs" / "gallery" / name / "README.md").read_text(encoding="utf-8")
    drawn = draw_galleries.table(draw_galleries.GALLERIES[name], "tiny 0123")
    new = draw_galleries.with_table(readme, drawn)
    start, end = draw_galleries.MARKS
    assert drawn in new
    assert (new.partition(start)[0], new.partition(end)[2]) == (readme.partition(start)[0], readme.partition(end)[2])
    for entry in draw_galleries.GALLERIES[name]:
        assert f"]({entry.name}.webp)" in drawn
        assert f"`{json.dumps(entry.request)}`" in drawn
    assert draw_galleries.with_table(new, drawn) == new


@pytest.mark.parametrize("readme", sorted((ROOT / "docs" / "gallery").rglob("README.md")), ids=lambda p: p.parent.name)
def test_requests_in_galleries_are_what_the_server_takes(readme: Path) -> None:
    for found in re.findall(r"`(\{.+?\})`", readme.read_text(encoding="utf-8")):
        GenerateRequest.model_validate_json(found)

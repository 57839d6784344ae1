"""Parts run alone or together, what they found is kept, and the report can be read without a network."""

import json
import re

import pytest
import torch

from training.evaluation import run
from training.evaluation.figures import bars, confusions, curves, sheet
from training.evaluation.report import Chapter, report
from training.evaluation.rows import Figure, Part, Row
from training.evaluation.run import PartKind, evaluate
from training.evaluation.setting import Setting

GOOD = Row("psnr", "PSNR <of scenes>", 35.00004, "dB", "higher", 34.0, 8, (34.1, 35.9), "a note")
BAD = Row("drift", "drift", 0.5, "", "lower", 0.1, 3)
PLAIN = Row("bits", "bits", 0.15, "bit", "lower")


def test_a_row_knows_whether_its_goal_is_met() -> None:
    assert (GOOD.met, BAD.met, PLAIN.met) == (True, False, None)
    assert GOOD.as_json() == {"name": "psnr", "value": 35.0, "unit": "dB", "goal": 34.0, "better": "higher"}
    assert PLAIN.as_json()["goal"] is None


def test_a_part_is_read_back_as_it_was_written() -> None:
    part = Part([GOOD, BAD, PLAIN], [Figure("a sheet", b"\x89PNG\x00\xff", small=True)])
    assert Part.from_text(part.to_text()) == part


def test_the_report_holds_everything_and_fetches_nothing() -> None:
    picture = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    figures = [
        Figure("sheet & more", sheet(picture, 2)),
        Figure("curve", curves({"ours": [1.0, 2.0], "theirs": [0.5]}, "%", "dB")),
        Figure("bars", bars({"a": {"x": 0.1}, "b": {"x": 0.3}}, "share")),
        Figure("confusion", confusions({"water": (("none", "lake"), [[3, 1], [0, 4]])}), small=True),
    ]
    page = report("Evaluation of <tiny>", "told", [Chapter("Tokenizer", "in 3 s", Part([GOOD, BAD, PLAIN], figures))])
    assert "1 of 2 goals are met" in page
    assert "PSNR &lt;of scenes&gt;" in page
    assert "<tiny>" not in page
    assert page.count("data:image/") == len(figures)
    assert page.count("data:image/webp") == 1
    assert not re.search(r"https?://|<script|<link|src=\"(?!data:)", page)
    assert 'name="viewport"' in page


def test_a_part_run_alone_joins_what_is_known_of_the_same_weights(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"one": PartKind("One", lambda s: Part([GOOD])), "two": PartKind("Two", lambda s: Part([BAD]))}
    monkeypatch.setattr(run, "PARTS", parts)
    assert [row.name for row in evaluate(setting, ["two"])] == ["drift"]
    assert [row.name for row in evaluate(setting, ["one"])] == ["psnr", "drift"]
    assert json.loads((setting.out / "evaluation.json").read_text()) == [GOOD.as_json(), BAD.as_json()]
    assert "2 goals" in (setting.out / "report.html").read_text()
    monkeypatch.setattr(setting.model, "version", "other weights")
    assert [row.name for row in evaluate(setting, ["one"])] == ["psnr"]
    with pytest.raises(ValueError, match="three"):
        evaluate(setting, ["three"])

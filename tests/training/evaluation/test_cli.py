"""`nuwa evaluate` in the terminal: rows for people, JSON for programs, and mistakes said in one line."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from training.evaluation import cli, run, text
from training.evaluation.rows import Part, Row
from training.evaluation.run import PartKind
from training.evaluation.setting import Setting


def ask(*arguments: str | Path) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    return outcome.exit_code, outcome.stdout, " ".join(outcome.stderr.replace("│", " ").split())


def test_tokenizer_answers_in_json_alone_and_names_what_it_skipped(weights: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 48), 30).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    status, told, warned = ask("tokenizer", "--images", tmp_path, "--weights", weights, "--json")
    assert status == 0
    answer = json.loads(told)
    assert {row["name"] for row in answer["rows"]} >= {"tokenizer_psnr_pictures", "webp_ssim_pictures"}
    assert all(set(row) == {"name", "value", "unit", "goal", "better"} for row in answer["rows"])
    assert [p["file"] for p in answer["pictures"]] == ["noise.png"]
    assert [s["file"] for s in answer["skipped"]] == ["broken.png"]
    assert "broken.png" in warned


def test_prompts_answer_with_what_was_read(
    weights: Path, tmp_path: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_classifier", setting.load_classifier)
    monkeypatch.setattr(text, "SIDE_PX", 64)
    monkeypatch.setattr(text, "CEILING_SCENES", 4)
    table = tmp_path / "prompts.csv"
    table.write_text("prompt,terrain\nsnowy mountains,mountains\nanything,\n")
    status, told, _ = ask("prompts", "--csv", table, "--weights", weights, "--out", tmp_path / "out", "--json")
    assert status == 0
    answer = json.loads(told)
    assert [p["expected"] for p in answer["pictures"]] == [{"terrain": "mountains"}, {}]
    assert "text_given_accuracy" in {row["name"] for row in answer["rows"]}
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_the_whole_evaluation_takes_its_parts_and_numbers_from_the_options(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(setting: Setting) -> Part:
        return Part([Row("counted", "counted", setting.counts.prompts, "", "higher", 5.0, 1)])

    parts = {name: PartKind(name, measure) for name in run.PARTS}
    monkeypatch.setattr(run, "PARTS", parts)
    status, told, _ = ask("--weights", weights, "--out", tmp_path, "--pictures", "6", "--parts", "seams,speed")
    assert status == 0
    assert told.count("counted") == 2
    assert "met" in told
    assert len(json.loads((tmp_path / "evaluation.json").read_text())) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "nowhere"], "nowhere/config.json does not exist"),
        (["--parts", "seams,colours"], "'colours' is none of tokenizer, text"),
        (["--weights", "x", "tokenizer", "--images", "y"], "options stand behind the command"),
        (["prompts", "--csv", "nowhere.csv"], "No such file"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments: list[str], said: str) -> None:
    status, _, warned = ask(*arguments)
    assert status == 2
    assert said in warned


def test_a_folder_without_pictures_is_named(weights: Path, tmp_path: Path) -> None:
    status, _, warned = ask("tokenizer", "--images", tmp_path, "--weights", weights)
    assert status == 2
    assert "holds no picture that can be measured" in warned

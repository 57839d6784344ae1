"""`nuwa train` from the command line: one's own pictures in, a folder of weights out, and mistakes said in a line."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from model.config import PRESETS
from model.loader import load, save
from model.sketching import Sketcher
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.checkpoint import load_checkpoint, part_of
from training.cli import train

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tiny"
NANO = PRESETS["nano"]


def nuwa_train(*words: object) -> Result:
    return CliRunner().invoke(train, [str(word) for word in words], env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        Image.linear_gradient("L").rotate(90 * i).convert("RGB").save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a gradient, turned {i} times")
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Nano weights with a sentence encoder, and the shipped word pieces."""
    transformer = Transformer(NANO)
    transformer.text.sentence.table.random_(-100, 100)
    save(tmp_path / "text", NANO, Tokenizer(NANO.tokenizer), transformer, SHIPPED / "words.json", Sketcher(NANO))
    return tmp_path / "text"


def test_a_folder_of_pictures_becomes_a_folder_of_weights(pictures: Path, text: Path, tmp_path: Path) -> None:
    common = ("--preset", "nano", "--steps", 2, "--device", "cpu", "--data", pictures)
    tokenizer, transformer, sketcher, out = (tmp_path / name for name in ("tok", "tr", "sk", "weights"))
    runs = (
        nuwa_train("tokenizer", "--run", tokenizer, "--batch", 2, "--shard-mb", 0.1, *common),
        nuwa_train(
            "transformer", "--run", transformer, "--tokenizer", tokenizer, "--text", text, "--patches", 4, *common
        ),
        nuwa_train(
            "sketcher", "--run", sketcher, "--tokenizer", tokenizer, "--text", text, "--sketches", 4, *common
        ),
        nuwa_train(
            "pack", "--tokenizer", tokenizer, "--transformer", transformer, "--sketcher", sketcher, "--text", text,
            "--preset", "nano", "--out", out,
        ),
    )  # fmt: skip
    assert [result.exit_code for result in runs] == [0, 0, 0, 0], [result.output for result in runs]
    assert len(list(tokenizer.glob("last.pt.*"))) > 1
    figures = (tokenizer / "log.csv").read_text().splitlines()[0].split(",")
    assert "photo_psnr" in figures
    assert "scene_psnr" not in figures  # no scene was drawn
    assert torch.equal(load(out).transformer.text.sentence.table, load(text).transformer.text.sentence.table)


def test_training_goes_on_from_weights_that_exist_and_what_is_frozen_stays(
    pictures: Path, text: Path, tmp_path: Path
) -> None:
    common = ("--preset", "nano", "--device", "cpu", "--data", pictures, "--weights", text, "--steps", 1)
    further = nuwa_train("tokenizer", "--run", tmp_path / "tok", "--batch", 2, "--freeze", "encoder", *common)
    assert further.exit_code == 0, further.output
    trained, begun = (
        part_of(load_checkpoint(tmp_path / "tok")["model"], "tokenizer"),
        load(text, "cpu").tokenizer.state_dict(),
    )
    changed = {name for name, value in trained.items() if not torch.equal(value, begun[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    further = nuwa_train("transformer", "--run", tmp_path / "frozen", "--patches", 4, "--freeze", "text", *common)
    assert further.exit_code == 0, further.output
    trained = part_of(load_checkpoint(tmp_path / "frozen")["model"], "transformer")
    begun = load(text, "cpu").transformer.state_dict()
    changed = {name for name, value in trained.items() if not torch.equal(value, begun[name])}
    assert changed
    assert not any(name.startswith("text.") for name in changed)
    further = nuwa_train("transformer", "--run", tmp_path / "tr", "--patches", 4, *common)
    assert further.exit_code == 0, further.output
    table = load_checkpoint(tmp_path / "tr")["model"]["transformer.text.sentence.table"]
    assert torch.equal(table, load(text, "cpu").transformer.text.sentence.table)

    pack = ("pack", "--tokenizer", tmp_path / "tok", "--transformer", tmp_path / "tr", "--text", text)
    other = tmp_path / "other"
    save(other, NANO, Tokenizer(NANO.tokenizer), Transformer(NANO), SHIPPED / "words.json", Sketcher(NANO))
    for folder, further_options in (("own", ()), ("mean", ("--average-with", other))):
        packed = nuwa_train(*pack, "--preset", "nano", "--out", tmp_path / folder, *further_options)
        assert packed.exit_code == 0, packed.output
    own, mean, before = (load(tmp_path / folder, "cpu").transformer for folder in ("own", "mean", "other"))
    assert not torch.allclose(own.token, before.token, atol=1e-3)
    assert torch.allclose(mean.token, (own.token + before.token) / 2, atol=1e-4)
    assert torch.equal(mean.text.sentence.table, own.text.sentence.table)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("tokenizer", ["--data", "{empty}"], "{empty} holds no pictures"),
        ("tokenizer", ["--photos", "{empty}"], "{empty} holds no pictures"),
        ("tokenizer", ["--data", "{empty}/none"], "{empty}/none is not a folder"),
        ("tokenizer", ["--data", "{pictures}", "--photos", "{pictures}"], "--photos goes with --data scenes"),
        ("tokenizer", ["--preset", "huge"], "'huge' is none of"),
        ("transformer", ["--tokenizer", "{empty}"], "train it first"),
        ("transformer", ["--schedule", "odd"], "neither canvas nor patch"),
        ("transformer", ["--freeze", "head"], "'head' is not text"),
        ("transformer", ["--freeze", "text"], "words mean nothing yet without --weights"),
        ("tokenizer", ["--freeze", "stem"], "'stem' is neither encoder nor decoder"),
        ("tokenizer", ["--keep", "1"], "nothing to keep without --weights"),
        ("transformer", ["--weights", str(SHIPPED), "--preset", "small"], "is not of preset small"),
        ("plan", ["--preset", "huge"], "'huge' is none of"),
    ],
)
def test_a_mistake_is_said_in_one_line_that_names_it(
    command: str, options: list[str], message: str, pictures: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [option.format(empty=empty, pictures=pictures) for option in options]
    run = [] if command == "plan" else ["--run", tmp_path / "run"]
    result = nuwa_train(command, *run, *filled)
    assert result.exit_code == 2
    assert message.format(empty=empty) in "".join(result.output.split("│")).replace("\n", "")


def test_a_folder_without_captions_trains_no_transformer_and_the_message_names_it(
    pictures: Path, text: Path, tmp_path: Path
) -> None:
    for words in pictures.glob("*.txt"):
        words.unlink()
    tokenizer = tmp_path / "tok"
    nuwa_train("tokenizer", "--run", tokenizer, "--preset", "nano", "--steps", 1, "--batch", 1, "--data", pictures)
    result = nuwa_train(
        "transformer", "--run", tmp_path / "tr", "--tokenizer", tokenizer, "--preset", "nano", "--text", text,
        "--data", pictures,
    )  # fmt: skip
    assert result.exit_code == 2
    assert f"{pictures}: none of the" in "".join(result.output.split("│")).replace("\n", "")

"""Weights come back as they were saved, and a folder that is not right says what is wrong with it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from canvas.grid import Grid
from model.generate import Model, PatchDecoder, generate
from model.loader import FILES, SKETCHER, WeightsError, load, save
from model.sampling import Sampling


@pytest.fixture
def folder(model: Model, words_file: Path, tmp_path: Path) -> Path:
    parts = (model.tokenizer, model.transformer, words_file, model.sketcher)
    save(tmp_path / "weights", model.config, *parts, half=False)
    return tmp_path / "weights"


def edit(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    state = load_file(folder / "transformer.safetensors")
    for key, value in change.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, folder / "transformer.safetensors")


def test_a_loaded_model_draws_the_same_patches(model: Model, folder: Path) -> None:
    grid = Grid(1, 1, 2, model.config.patch_px)
    sampling = Sampling(cfg_scale=2.0)
    drawn = [
        [p.tokens.tolist() for p in generate(PatchDecoder(m), grid, "zeta", "snowy lake", sampling, 1)]
        for m in (model, load(folder))
    ]
    assert drawn[0] == drawn[1]


def test_half_precision_on_disk_is_read_as_float32(model: Model, words_file: Path, tmp_path: Path) -> None:
    save(tmp_path, model.config, model.tokenizer, model.transformer, words_file, model.sketcher)
    assert load(tmp_path).transformer.token.dtype == torch.float32


def test_the_version_changes_with_any_byte_of_the_weights(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert load(folder).version == load(other).version
    token = load_file(other / "transformer.safetensors")["token"]
    edit(other, {"token": token + 1})
    assert load(folder).version != load(other).version


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"begin": None}, "missing weights: begin"),
        ({"extra": torch.zeros(1)}, "unknown weights: extra"),
        ({"begin": torch.zeros(3)}, r"begin has shape \(3,\), expected \(32,\)"),
        ({"begin": torch.full((32,), float("nan"))}, "begin holds values that are not finite"),
    ],
)
def test_a_wrong_weight_is_an_error_naming_it(
    folder: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(WeightsError, match=message):
        load(folder)


@pytest.mark.parametrize("name", [*FILES, SKETCHER])
def test_a_missing_file_is_an_error_naming_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=name):
        load(folder)


def test_a_truncated_file_is_an_error_naming_the_folder(folder: Path) -> None:
    data = (folder / "transformer.safetensors").read_bytes()
    (folder / "transformer.safetensors").write_bytes(data[:1000])
    with pytest.raises(WeightsError, match=str(folder)):
        load(folder)


def test_a_transformer_that_reads_sketches_is_not_saved_without_what_draws_them(
    model: Model, words_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="sketcher"):
        save(tmp_path, model.config, model.tokenizer, model.transformer, words_file)


def test_an_unknown_or_missing_key_of_the_configuration_is_an_error_naming_it(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"colour": 1}))
    with pytest.raises(WeightsError, match="unknown key colour"):
        load(folder)
    del config["transformer"]["heads"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"missing key transformer\.heads"):
        load(folder)


def test_weights_from_before_tokens_had_a_factor_and_one_pass_knew_guidance_still_load(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["tokenizer"]["factor"], config["transformer"]["distilled_scale"]
    (folder / "config.json").write_text(json.dumps(config))
    names = load_file(folder / "transformer.safetensors")
    edit(folder, dict.fromkeys(name for name in names if name.startswith("guidance.")))
    model = load(folder)
    assert model.config.tokenizer.factor == 8
    assert model.config.transformer.distilled_scale == 1

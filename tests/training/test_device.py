"""What a GPU changes: products in 16 bits and compiled code, with the same weights under the same names."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model.config import PRESETS
from model.tokenizer import Tokenizer, guide_from
from training.checkpoint import load_checkpoint
from training.device import autocast, compile_methods_on_gpu, compile_on_gpu, has_bfloat16
from training.loop import RunSettings
from training.tokenizer import TokenizerRecipe, reconstruction_loss, train_tokenizer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NANO = PRESETS["nano"]


@pytest.mark.parametrize(("able", "products"), [({"avx512_bf16": True}, torch.bfloat16), ({}, torch.float32)])
def test_on_a_cpu_nothing_is_compiled_and_products_are_cast_where_it_has_instructions_for_them(
    able: dict[str, bool], products: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("compiled on a CPU")

    monkeypatch.setattr(torch, "compile", refuse)
    monkeypatch.setattr(nn.Module, "compile", refuse)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr("training.device.has_bfloat16", has_bfloat16.__wrapped__)  # what is kept is of this machine
    linear = nn.Linear(2, 2)
    compile_on_gpu(CPU, linear)
    compile_methods_on_gpu(CPU, nn.ModuleList([linear]), "forward")
    with autocast(CPU):
        assert linear(torch.ones(1, 2)).dtype == products


def test_compiled_parts_keep_their_results_and_the_names_of_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that only captures the code: a break in it would raise."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiler(f, backend="eager", fullgraph=True, **options))
    torch.manual_seed(0)
    tokenizer, layers = Tokenizer(NANO.tokenizer), nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
    pixels, names = torch.rand(1, 3, 16, 16), list(tokenizer.state_dict())
    before = tokenizer(pixels), layers[0](torch.ones(1, 4))
    compile_on_gpu(GPU, tokenizer)
    compile_methods_on_gpu(GPU, layers, "forward")
    torch.testing.assert_close(tokenizer(pixels), before[0])
    torch.testing.assert_close(layers[0].forward(torch.ones(1, 4)), before[1])
    assert list(tokenizer.state_dict()) == names
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_in_sixteen_bits_the_loss_is_nearly_the_same_and_gradients_have_thirty_two() -> None:
    torch.manual_seed(0)
    tokenizer, pixels = Tokenizer(NANO.tokenizer), torch.rand(2, 3, 32, 32) * 2 - 1
    guide = guide_from(pixels, pixels[:, 0] > 0)
    exact = reconstruction_loss(tokenizer(pixels, guide)[0], pixels, TokenizerRecipe())
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = tokenizer(pixels, guide)
    assert output.dtype == torch.bfloat16
    rounded = reconstruction_loss(output.float(), pixels, TokenizerRecipe())
    rounded.backward()
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in tokenizer.parameters())


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_tokenizer_trains_on_a_gpu_and_its_run_goes_on_on_a_cpu(tmp_path: Path) -> None:
    recipe = TokenizerRecipe(batch=4, crop_px=32, pictures=8)
    train_tokenizer(NANO, RunSettings(tmp_path, max_steps=3), recipe, None, GPU)
    assert all(w.dtype == torch.float32 for w in load_checkpoint(tmp_path)["model"].values())
    train_tokenizer(NANO, RunSettings(tmp_path, max_steps=5, resume=True), recipe, None, CPU)
    assert load_checkpoint(tmp_path)["step"] == 5

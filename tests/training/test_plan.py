"""What the plan says on paper is what torch counts; and a model of the paper's size does run."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from canvas.grid import Extent, Grid
from model.config import PRESETS, ModelConfig
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from training.losses import nearby_table
from training.plan import estimate, plan


def config_of(name: str, **changes: object) -> ModelConfig:
    config = PRESETS[name]
    return replace(config, transformer=replace(config.transformer, **changes))


def forward(config: ModelConfig, rows: int, columns: int) -> tuple[Transformer, Tensor]:
    """One canvas of random tokens; the model and its mean loss."""
    c = config.transformer
    torch.manual_seed(0)
    model = Transformer(config)
    grid = Grid(1, rows, columns, 1)
    index, corners = nearby_table(grid, c.orders[0], Extent(*c.extent).within(grid), torch.device("cpu"))
    tokens = torch.randint(config.tokenizer.codebook_size, (1, len(grid), c.tokens_per_patch))
    ids = torch.full((1, c.text_tokens), 5)
    logits = model(tokens, ids, c.orders[0], index, corners, torch.rand(1, len(grid), 4))
    return model, torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens.flatten())


@pytest.mark.parametrize("name", ["nano", "tiny"])
def test_planned_parameters_are_those_of_the_model(name: str) -> None:
    planned = estimate(PRESETS[name], 1)
    trained = (p for p in Transformer(PRESETS[name]).parameters() if p.requires_grad)
    assert planned.parameters == sum(p.numel() for p in trained)
    assert planned.tokenizer == sum(p.numel() for p in Tokenizer(PRESETS[name].tokenizer).parameters())


def test_base_has_the_papers_size() -> None:
    planned = estimate(PRESETS["base"], 1)
    assert 0.75e9 < planned.parameters < 0.85e9
    assert PRESETS["base"].patch_px == 256
    assert PRESETS["base"].transformer.tokens_per_patch == 256


def test_planned_arithmetic_of_a_layer_is_what_torch_counts() -> None:
    def counted(depth: int) -> int:
        with (
            FlopCounterMode(display=False) as counter,
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            forward(config_of("nano", width=64, depth=depth), 2, 2)[1].backward()
        return counter.get_total_flops()

    two, three = (estimate(config_of("nano", width=64, depth=depth), 4) for depth in (2, 3))
    planned = 4 * (three.patch_flops - two.patch_flops)
    attention = 4 * 17 * two.keys() * 64 * 4  # this backend keeps its scores, so its backward costs twice its forward
    assert counted(3) - counted(2) == pytest.approx(planned - attention / 2, rel=0.03)


def test_planned_activations_are_what_the_backward_pass_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose attention is in 16 bits too."""
    monkeypatch.setattr(
        "model.transformer._attend_at_once",
        lambda q, k, v, mask: torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    )
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = (x.untyped_storage().nbytes(), x)
        return x

    def measured(depth: int) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", torch.bfloat16):
            model, _ = forward(config_of("nano", width=64, depth=depth), 3, 3)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return sum(size for pointer, (size, _) in kept.items() if pointer not in weights)

    layer = (measured(3) - measured(2)) - 2 * 14 * 64**2  # without the weights in 16 bits
    planned = [estimate(config_of("nano", width=64, depth=depth), 9).activations_bytes() for depth in (2, 3)]
    assert layer / 9 == pytest.approx(planned[1] - planned[0], rel=0.15)


def test_the_table_has_a_column_for_each_model() -> None:
    lines = plan([PRESETS["nano"], PRESETS["tiny"]], 96).splitlines()
    assert lines[0].split() == ["nano", "tiny"]
    assert any(line.startswith("in all, 96 patches a step") for line in lines)


@pytest.mark.slow
def test_a_shallow_model_of_base_width_learns_from_one_patch_beside_another() -> None:
    config = config_of("base", depth=1, text_depth=1)
    model, loss = forward(config, 1, 2)
    assert float(loss.detach()) == pytest.approx(math.log(15_360), abs=0.01)  # it has learnt nothing yet
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert grads["head"] is not None
    assert all(g.isfinite().all() for g in grads.values() if g is not None)

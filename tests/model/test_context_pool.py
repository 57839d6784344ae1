"""The Nearby Context Pool: pages taken, read turned to their places, and given back."""

import pytest
import torch

from model.config import PRESETS
from model.context_pool import NearbyContextPool
from model.position import rotary_angles, rotate

CONFIG = PRESETS["nano"].transformer
SHAPE = (CONFIG.depth, CONFIG.heads, CONFIG.tokens_per_patch, CONFIG.head_dim)


def states(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def add(pool: NearbyContextPool, key: str, keys: torch.Tensor, values: torch.Tensor) -> None:
    [page] = pool.take([key])
    pool.write(page, keys, values)


def test_what_was_added_is_selected_turned_to_its_offset() -> None:
    pool = NearbyContextPool(CONFIG, pages=3, device=torch.device("cpu"))
    keys, values = states(0)
    add(pool, "a", keys, values)
    add(pool, "b", *states(1))
    got_keys, got_values, mask = pool.select([[("a", (0, -1, 1))], []], slots=2)
    m, tokens = CONFIG.patch_tokens, CONFIG.tokens_per_patch
    turned = rotate(keys.half().float(), rotary_angles(torch.tensor([0.0, -m, m]), CONFIG.head_dim))
    assert torch.allclose(got_keys[:, 0, :, :tokens], turned, atol=1e-5)
    assert torch.equal(got_values[:, 0, :, :tokens], values.half().float())
    assert mask.tolist() == [[True] * tokens + [False] * tokens, [False] * 2 * tokens]
    assert not got_keys[:, 1].any(), "an empty slot reads zeros"


def test_a_page_is_free_again_after_remove() -> None:
    pool = NearbyContextPool(CONFIG, pages=1, device=torch.device("cpu"))
    for name in ("a", "b", "c"):
        add(pool, name, *states(0))
        pool.remove(name)
    assert len(pool) == 0
    assert pool.high_water == 1


def test_what_is_not_in_the_pool_cannot_be_selected() -> None:
    pool = NearbyContextPool(CONFIG, pages=1, device=torch.device("cpu"))
    with pytest.raises(KeyError):
        pool.select([[("a", (0, 0, -1))]], slots=1)
    with pytest.raises(KeyError):
        pool.remove("a")


def test_a_patch_is_added_only_once() -> None:
    pool = NearbyContextPool(CONFIG, pages=3, device=torch.device("cpu"))
    add(pool, "a", *states(0))
    with pytest.raises(KeyError, match="already"):
        pool.take(["a"])
    with pytest.raises(KeyError, match="already"):
        pool.take(["b", "b"])
    assert "b" not in pool


def test_pages_are_taken_all_or_none() -> None:
    pool = NearbyContextPool(CONFIG, pages=2, device=torch.device("cpu"))
    with pytest.raises(MemoryError, match="3 pages wanted, 2 of 2 are free"):
        pool.take(["a", "b", "c"])
    assert len(pool) == 0
    assert len({pool.page(key) for key in ("a", "b") if pool.take([key])}) == 2


def test_a_page_takes_the_bytes_that_its_geometry_says() -> None:
    pool = NearbyContextPool(CONFIG, pages=2, device=torch.device("cpu"))
    assert pool.page_bytes == CONFIG.depth * 2 * CONFIG.tokens_per_patch * CONFIG.width * 2  # 16 bits


def test_turning_twice_is_turning_by_the_sum() -> None:
    x = torch.randn(5, CONFIG.head_dim, generator=torch.Generator().manual_seed(0))
    a = rotary_angles(torch.tensor([0.0, 3.0, -2.0]), CONFIG.head_dim)
    b = rotary_angles(torch.tensor([1.0, -8.0, 16.0]), CONFIG.head_dim)
    assert torch.allclose(rotate(rotate(x, a), b), rotate(x, a + b), atol=1e-5)

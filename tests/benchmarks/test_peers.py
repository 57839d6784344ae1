"""The peers do the work that they are timed for."""

import torch

from benchmarks.models import LITTLE
from benchmarks.peers import STEPS, PlainLoop, Transformers


def test_the_plain_loop_gives_the_same_token_by_token_as_in_one_pass():
    loop = PlainLoop(LITTLE.transformer, vocabulary=50)
    tokens = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(0))
    whole = loop(tokens, 0, loop.cache(2, 12))
    cache = loop.cache(2, 12)
    steps = [loop(tokens[:, n : n + 1], n, cache) for n in range(12)]
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_the_plain_loop_looks_at_all_keys_before_it():
    loop = PlainLoop(LITTLE.transformer, vocabulary=50)
    cache = loop.cache(1, 20)
    token = torch.zeros(1, 1, dtype=torch.long)
    before = loop(token, 15, cache)
    cache[0][1][:, :, 0] += 10.0
    assert not torch.equal(before, loop(token, 15, cache))


@torch.inference_mode()
def test_transformers_goes_on_from_the_same_place_each_time():
    llama = Transformers(LITTLE.transformer, vocabulary=50, keys=30)
    for cache in ("static", "dynamic"):
        prompted = llama.prompted(3, cache)
        assert prompted.step_seconds() > 0
        assert int(prompted._cache.get_seq_length()) == 30 - STEPS // 2 - 1
        assert prompted.step_seconds() > 0


def test_transformers_has_about_as_many_weights_as_the_decoder():
    from benchmarks.models import MEASURED

    config = MEASURED.transformer
    llama = Transformers(config, vocabulary=1000, keys=30)
    ours = 12 * config.width**2 * config.depth + 1000 * config.width
    theirs = sum(p.numel() for p in llama.model.parameters())
    assert abs(theirs / ours - 1) < 0.01

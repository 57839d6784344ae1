"""What a step needs at least."""

from dataclasses import replace

from benchmarks.roofline import needs
from model.config import TransformerConfig


def test_a_step_reads_weights_once_and_keys_and_values_for_every_row():
    config = replace(TransformerConfig(), width=8, depth=2, heads=1, patch_tokens=2)  # 4 tokens a patch
    operations, moved = needs(config, vocabulary=10, rows=3, context=6, number_bytes=2)
    weights = 2 * 12 * 64 + 10 * 8
    keys_values = 2 * 2 * 8 * (6 + 2)  # of 8 keys half-way, two numbers of 8 in each of 2 layers
    assert moved == 2 * (weights + 3 * keys_values)
    assert operations == 2 * 3 * (weights + keys_values)

"""Rows and the file that holds them."""

import json
import math

import pytest

from benchmarks.rows import merged, read_rows, write_rows


def test_a_goal_is_met_from_the_side_that_is_better(row):
    assert row(value=2.0, goal=2.0, better="higher").met
    assert not row(value=1.9, goal=2.0, better="higher").met
    assert row(value=1.9, goal=2.0, better="lower").met
    assert not row(value=2.1, goal=2.0, better="lower").met
    assert row(goal=None).met is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_no_number_is_refused(row, value):
    with pytest.raises(ValueError, match="load_lone_job"):
        row(value=value)


def test_the_file_holds_the_five_fields_and_nothing_else(row, tmp_path):
    file = tmp_path / "performance.json"
    write_rows(file, [row(value=1 / 3, goal=0.5)])
    assert json.loads(file.read_text()) == [
        {"name": "load_lone_job", "value": 0.33333, "unit": "s", "goal": 0.5, "better": "lower"}
    ]
    assert read_rows(file) == [row(value=0.33333, goal=0.5)]


def test_a_part_that_ran_again_replaces_all_of_its_rows_and_no_others(row):
    old = [row("load_a"), row("load_b"), row("memory_a"), row("gone_a")]
    new = [row("load_a", 2.0)]
    kept = merged(old, new, ran=["load"], order=["memory", "load"])
    assert kept == [row("memory_a"), row("load_a", 2.0)]

"""The table, the document and the plots."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from benchmarks.parts import PARTS
from benchmarks.plots import STAGES, write_plots
from benchmarks.report import Machine, document, machine, table, write_report
from benchmarks.rows import Row, read_rows

HERE = Machine("A processor", 2, 24.0, "torch 2", 0.5)
ROOT = Path(__file__).parents[2]


def test_the_document_shows_every_row_its_goal_and_what_each_part_measures(row):
    rows = [row(f"{part}_figure", 2.0, 1.0, "lower") for part in PARTS] + [row("load_other", 1.0, 1.0)]
    text = document(rows, {}, HERE, {}, quick=False)
    assert f"**1 of {len(PARTS) + 1} goals are met.**" in text
    for part in PARTS:
        assert f"## {part.capitalize()}" in text
        assert f"| `{part}_figure` | 2 s | ≤ 1 | no |" in text
    assert "so that all see the same machine" in text
    assert "others kept 50 % of the processors busy" in text


def test_the_document_says_which_part_failed_and_that_a_run_was_quick(row):
    text = document([row()], {"memory": "OSError: no luck"}, HERE, {}, quick=True)
    assert "memory was not measured to its end: OSError: no luck" in text
    assert "quick run" in text


def test_the_table_names_failures(row):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table([row(value=12345.6)], {"memory": "no luck"}))
    shown = console.export_text()
    assert "load_lone_job" in shown
    assert "12,346" in shown
    assert "memory failed: no luck" in shown


def test_one_part_that_ran_again_leaves_the_others_as_they_were(row, tmp_path):
    write_report(tmp_path, [row("load_a"), row("memory_a")], ["load", "memory"], {}, HERE, quick=False)
    write_report(tmp_path, [row("load_a", 2.0)], ["load"], {}, HERE, quick=False)
    assert read_rows(tmp_path / "performance.json") == [row("memory_a"), row("load_a", 2.0)]
    assert "`memory_a`" in (tmp_path / "performance.md").read_text()


@pytest.fixture
def enough() -> list[Row]:
    """Rows for all plots."""
    names = [f"throughput_tokens_a_second_nuwa_{n}" for n in (1, 4)] + ["roofline_share_1", "roofline_share_4"]
    names += ["wavefront_speedup_8x8", "wavefront_ideal_8x8", "context_nearby", "context_nuwa"]
    names += [f"context_{way}_{n}" for way in ("cached", "recomputed") for n in (1, 16)]
    names += [f"service_share_{stage}" for stage in STAGES]
    names += [f"load_{figure}_{n}" for figure in ("patches_a_second", "first_patch") for n in (1, 4)]
    return [Row(name, 0.5, "", 0.6 if "share_" in name or "speedup" in name else None, "higher") for name in names]


def test_plots_are_pictures_and_the_same_bytes_for_the_same_rows(enough, tmp_path):
    plots = write_plots(tmp_path, enough)
    assert len(plots) == 3
    for name in plots:
        with Image.open(tmp_path / name) as image:
            assert image.format == "WEBP"
    once = (tmp_path / "performance-canvas.webp").read_bytes()
    write_plots(tmp_path, [row for row in enough if row.name.startswith("context_")])
    assert (tmp_path / "performance-canvas.webp").read_bytes() == once


def test_a_plot_without_its_rows_is_left_out(enough, tmp_path):
    plots = write_plots(tmp_path, [row for row in enough if not row.name.startswith("load_")])
    assert set(plots) == {"performance-decode.webp", "performance-canvas.webp"}
    assert write_plots(tmp_path, []) == {}


def test_the_machine_is_described_without_names_or_folders():
    told = str(machine())
    assert "torch" in told
    assert "/" not in told.replace("GB/s", "")


def test_the_published_rows_are_those_of_known_parts():
    published = ROOT / "docs" / "performance.json"
    if not published.exists():
        pytest.skip("not measured yet: make bench")
    for fields in json.loads(published.read_text()):
        assert set(fields) == {"name", "value", "unit", "goal", "better"}
        assert Row(**fields).part in PARTS

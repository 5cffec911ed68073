"""Blocks of a page are written from the runs' files, and nothing else of it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litestage.report.markdown import END, fill, table

Document = dict[str, Any]


@pytest.fixture
def runs(tmp_path: Path, results: Document) -> Path:
    """A folder of two runs."""
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "results.json").write_text(json.dumps({**results, "run": name}))
    return tmp_path / "runs"


def _page(folder: Path, *lines: str) -> Path:
    page = folder / "page.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def test_a_row_holds_every_value(results: Document) -> None:
    short, full = table(results), table(results, full=True)
    assert short[0].endswith("| skipped sub-layers: recall / analyze / summarize | full layers, mean |")
    assert short[4] == "| litestage | 65.2 ± 2.1 | 81.8 | 0.32 | 1.31 [1.27, 1.36] | 4 / 6 / 2 | 2.00 |"
    assert (
        full[4] == "| litestage | 65.2 ± 2.1 | 62.1 | 1.2 | 81.8 | 0.32 | 4.01 | 1.31 [1.27, 1.36] | 4 / 6 / 2 | 2.00 |"
    )
    assert {line.count("|") for line in full[:7]} == {11}
    assert short[-1] == (
        "n = 500 test questions, vote of 10 attempts. Timed: 64 of them, 3 paired repeats, batch size 16, cpu, "
        "float32, threads: 2."
    )


def test_a_bar_in_a_name_does_not_end_its_cell(results: Document) -> None:
    results["methods"][4]["name"] = "a|b"
    assert table(results)[6].startswith("| a\\|b | 58.0")


def test_blocks_are_written_and_the_rest_stays(runs: Path, tmp_path: Path) -> None:
    lines = ("before", "<!-- results: table first -->", "old", END, "", "after  ", "<!-- results: overview -->", END)
    page = _page(tmp_path, *lines)
    text = fill(page, runs)
    assert "old" not in text
    assert text.startswith("before\n<!-- results: table first -->\n\n| method |")
    assert f"\n\n{END}\n\nafter  \n<!-- results: overview -->\n\n| run |" in text
    assert "| [first](runs/first/README.md) | tiny | miniworld | 500 | 66.0 ± 2.1 | 65.2 ± 2.1 |" in text
    assert "| 1.31 [1.27, 1.36] | 1.00 [0.97, 1.03] | 2.00 of 8 |" in text
    page.write_text(text)
    assert fill(page, runs) == text


def test_links_lead_from_the_page_to_the_runs(runs: Path) -> None:
    page = _page(runs / "first", "<!-- results: overview -->", END)
    assert "[second](../second/README.md)" in fill(page, runs)


def test_an_overview_says_what_was_not_run(runs: Path, tmp_path: Path, results: Document) -> None:
    results["methods"] = [results["methods"][0], results["methods"][4]]
    results["timing"]["control"] = None
    (runs / "first" / "results.json").write_text(json.dumps(results))
    text = fill(_page(tmp_path, "<!-- results: overview -->", END), runs)
    assert "66.0 ± 2.1 | not run | not run | not run | not run |" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["<!-- results: table third -->", END], r"page\.md:2: no run 'third' in .*; there are: first, second"),
        (["<!-- results: chart first -->", END], r"page\.md:2: no block 'chart first'; .*'overview'"),
        (["<!-- results: table first -->"], rf"page\.md:2: this block does not end; write {END}"),
        (["<!-- results: overview -->", "<!-- results: table first -->", END], r"page\.md:3: .* inside another"),
    ],
)
def test_a_wrong_block_is_named_with_its_line(lines: list[str], words: str, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        fill(_page(tmp_path, "title", *lines), runs)


def test_a_damaged_run_is_named(runs: Path, tmp_path: Path) -> None:
    (runs / "second" / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"second/results\.json: line 1: not JSON"):
        fill(_page(tmp_path, "<!-- results: overview -->", END), runs)

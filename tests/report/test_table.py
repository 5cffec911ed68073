"""The tables hold the numbers, with their units."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.table import Table

from litestage.report.table import experiment_table, results_table, search_table, show, span


def _lines(table: Table) -> list[str]:
    file = io.StringIO()
    show(table, file)
    return file.getvalue().splitlines()


def _row(lines: list[str], start: str) -> list[str]:
    found = [line.split() for line in lines if line.strip().startswith(start)]
    assert len(found) == 1, found
    return found[0]


def test_results_row_holds_every_value(results: dict[str, Any]) -> None:
    row = " ".join(_row(_lines(results_table(results)), "litestage  "))
    assert row == "litestage 65.2 ± 2.1 62.1 1.2 0.32 4.01 81.8 1.31 [1.27, 1.36] 4 / 6 / 2 2.00"


def test_one_results_row_a_method_and_both_units(results: dict[str, Any]) -> None:
    table = results_table(results)
    assert table.row_count == len(results["methods"])
    text = " ".join(" ".join(_lines(table)).split())
    for words in ("sub-layers", "full layers", "recall / analyze / summarize", "median [low, high]", "± stderr"):
        assert words in text
    for words in ("n = 500 questions", "batch size 16", "float32", "'full depth (control)' is full depth timed again"):
        assert words in text


def test_no_control_no_remark_and_brackets_survive(results: dict[str, Any]) -> None:
    results["timing"]["control"] = None
    results["model"] = "[bold]model[/bold]"
    text = " ".join(" ".join(_lines(results_table(results))).split())
    assert "timed again" not in text
    assert "[bold]model[/bold]" in text


def _search_rows(profile: dict[str, Any]) -> list[list[str]]:
    lines = (line.split() for line in _lines(search_table(profile)))
    return [line for line in lines if line and line[0] in ("recall", "analyze", "summarize")]


def test_search_rows_by_stage_in_order_with_one_choice_each(profile: dict[str, Any]) -> None:
    profile["trials"].reverse()
    lines, rows = _lines(search_table(profile)), _search_rows(profile)
    assert [row[0] for row in rows] == ["summarize"] * 7 + ["recall"] * 5 + ["analyze"] * 5
    assert [int(row[1]) for row in rows[:7]] == [8, 6, 4, 2, 2, 2, 0]
    assert [row[1] for row in rows if row[-1] == "chosen"] == ["2", "2", "2"]
    assert rows[-2] == ["analyze", "2", "1", "65.6", "0.4", "yes", "<-", "chosen"]
    assert rows[-3] == ["analyze", "4", "2", "63.0", "0.38", "no"]
    assert "target accuracy 65.0 %" in lines[0]
    assert any("66.0 %, 0.42 s / question; n = 200" in line for line in lines)


def test_a_search_row_that_was_given_up_shows_a_bound_and_no_latency(profile: dict[str, Any]) -> None:
    analyze = [row for row in _search_rows(profile) if row[0] == "analyze"]
    assert analyze[3] == ["analyze", "6", "3", "at", "most", "64.0", "left", "after", "24", "no"]
    assert analyze[4] == ["analyze", "8", "4", "at", "most", "66.0", "left", "after", "16", "no"]
    assert [row for row in analyze[:3] if {"most", "left"} & {*row}] == []


def test_search_rows_name_their_exit_and_skipping_in_prefill(profile: dict[str, Any]) -> None:
    rows = [row for row in _search_rows(profile) if row[0] == "summarize"]
    assert rows[2] == ["summarize", "2", "1", "0.35", "61.0", "0.36", "no"]
    assert rows[3] == ["summarize", "2", "+prefill", "1", "61.0", "0.36", "no"]
    assert any("exit" in line for line in _lines(search_table(profile)))


@pytest.mark.parametrize(("values", "text"), [([5, 5], "5"), ([5, 3, 4], "3 to 5")])
def test_span(values: list[int], text: str) -> None:
    assert span(values) == text


def test_an_experiment_shows_its_first_rows_and_no_empty_column(experiment: dict[str, Any]) -> None:
    text = "\n".join(_lines(experiment_table({**experiment, "rows": experiment["rows"][:2] * 30})))
    assert "A title & more" in text
    assert "and 20 rows more in experiments/motivation.csv." in " ".join(text.split())
    assert "with <exit>" in text
    assert "cut" not in text

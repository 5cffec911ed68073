"""Series, bars and looks of an experiment's panels."""

from __future__ import annotations

from typing import Any

from litestage.report.panels import about, bars_meaning, grid_of, looks_of, rows_of, series_of
from litestage.report.style import styles

Document = dict[str, Any]


def test_series_hold_their_points_and_bars(experiment: Document) -> None:
    lines, bars, *_ = experiment["panels"]
    first, second = series_of(experiment, lines)
    assert (first.name, second.name) == ("with <exit>", "without")
    assert (first.x, first.y) == ([0, 2, 4], [60.0] * 3)
    assert (first.below, first.above) == ([1.5] * 3, [1.5] * 3)
    assert (first.left, first.right) == ([], [])
    low_high = series_of(experiment, bars)[1]
    assert (low_high.below, low_high.above) == ([10.0] * 3, [40.0] * 3)


def test_points_without_a_value_are_left_out(experiment: Document) -> None:
    experiment["rows"][1]["accuracy"] = None
    experiment["rows"][2]["error"] = None
    first = series_of(experiment, experiment["panels"][0])[0]
    assert (first.x, first.below) == ([0, 4], [1.5, 0.0])


def test_a_panel_shows_its_rows_only(experiment: Document) -> None:
    text = experiment["panels"][3]
    assert [row["text"] for row in rows_of(experiment, text)] == ["Wood floats"]
    x, y, values = grid_of(experiment, experiment["panels"][2])
    assert (x, y) == ([0, 2, 4], ["recall", "analyze", "summarize"])
    assert values == [[50.0, None, None], [None, 50.0, None], [None, None, 50.0]]


def test_looks_differ_and_methods_keep_theirs(experiment: Document) -> None:
    looks = looks_of(experiment)
    assert list(looks) == ["with <exit>", "without"]
    assert len({style.marker for style in looks.values()}) == len({style.color for style in looks.values()}) == 2
    for row in experiment["rows"][:3]:
        row["series"] = "litestage"
    assert looks_of(experiment)["litestage"] == styles(["litestage"])["litestage"]


def test_what_numbers_are_about_is_said(experiment: Document) -> None:
    said = about(experiment)
    for part in (
        "n = 40 test questions",
        "vote of 3 attempts",
        "timings of each plan: 2",
        "batch size 16",
        "float32",
        "seed 0",
    ):
        assert part in said
    lines, bars, chart, _ = experiment["panels"]
    assert bars_meaning(experiment, lines) == "Bars: ± standard error (points)."
    assert bars_meaning(experiment, bars) == "Bars: low end to high end."
    assert bars_meaning(experiment, chart) == ""

"""The search profile: every trial once, what was given up as a bound, the chosen one ringed."""

from __future__ import annotations

from typing import Any

import pytest

from litestage.report.trials_chart import search_charts

Document = dict[str, Any]


def _marks(spec: Document, axis: str) -> dict[str, Document]:
    return {t["name"]: t for t in spec["data"] if t.get("mode") == "markers" and t.get("yaxis", "y") == axis}


def test_one_chart_a_stage_in_the_order_of_the_search(profile: Document) -> None:
    charts = search_charts(profile)
    assert [chart.title for chart in charts] == ["Search, 1. analyze", "Search, 2. recall", "Search, 3. summarize"]
    assert "n = 200 validation questions" in charts[0].caption
    assert "Chosen: 2 sub-layers (1 full layer), 65.6 %, 0.4 s / question." in charts[0].label


def test_marks_say_what_became_of_a_trial(profile: Document) -> None:
    above, below = (_marks(search_charts(profile)[0].spec, axis) for axis in ("y", "y2"))
    assert {name: mark["x"] for name, mark in above.items()} == {
        "reaches the target": [0, 2],
        "below the target": [4],
        "given up (at most)": [6, 8],
        "with exit or in prefill": [],
        "chosen": [2],
    }
    assert above["given up (at most)"]["y"] == [pytest.approx(64.0), pytest.approx(66.0)]
    assert below["given up (at most)"]["x"] == []  # a latency that nobody knows
    assert below["chosen"]["y"] == [pytest.approx(0.40)]
    told = above["given up (at most)"]["customdata"][0]
    assert told == (
        "6 sub-layers (3 full layers)<br>at most 64.0 %<br>"
        "given up after 24 of 200: it could not reach the target any more"
    )
    assert len({mark["marker"]["symbol"] for mark in above.values()}) == 5


def test_trials_with_exit_or_prefill_stand_apart_from_the_line(profile: Document) -> None:
    spec = search_charts(profile)[2].spec
    mark = _marks(spec, "y")["with exit or in prefill"]
    assert mark["x"] == [2, 2]
    assert "early exit below 0.35" in mark["customdata"][0]
    assert "skips in prefill too" in mark["customdata"][1]
    line = next(trace for trace in spec["data"] if trace["mode"] == "lines")
    assert line["x"] == [0, 2, 4]


def test_levels_are_the_target_and_full_depth(profile: Document) -> None:
    spec = search_charts(profile)[0].spec
    levels = [(t["name"], t["y"][0]) for t in spec["data"] if t["mode"] == "lines" and t.get("name")]
    assert levels == [
        ("accuracy target", pytest.approx(65.0)),
        ("full depth", pytest.approx(66.0)),
        ("full depth", pytest.approx(0.42)),
    ]


def test_a_latency_that_is_not_there_is_left_out(profile: Document) -> None:
    profile["trials"][0]["latency"] = None
    spec = search_charts(profile)[0].spec
    assert _marks(spec, "y2")["reaches the target"]["x"] == [2]

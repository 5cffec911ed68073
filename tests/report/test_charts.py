"""The interactive figures hold the data, name their axes, and say it to a screen reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litestage.report.canvas import Chart
from litestage.report.charts import accuracy_chart, budgets_chart, importance_chart, skips_chart, tokens_chart

Document = dict[str, Any]


def _traces(chart: Chart) -> dict[str, Document]:
    return {trace["name"]: trace for trace in chart.spec["data"] if trace.get("name")}


def _axes(chart: Chart) -> list[str]:
    return [chart.spec["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]


def test_accuracy_points_with_both_error_bars(results: Document) -> None:
    chart = accuracy_chart({"run": results})
    traces = _traces(chart)
    assert list(traces) == [m["name"] for m in results["methods"]]
    method, trace = results["methods"][2], traces["litestage"]
    assert (trace["x"], trace["y"]) == ([1.31], [pytest.approx(65.2)])
    assert trace["error_y"]["array"] == [pytest.approx(100 * method["accuracy_stderr"])]
    assert trace["error_x"]["array"] == [pytest.approx(0.05)]
    assert trace["error_x"]["arrayminus"] == [pytest.approx(0.04)]
    assert len({trace["marker"]["symbol"] for trace in traces.values()}) == 5
    assert _axes(chart) == ["speed-up over full depth (times)", "accuracy (% of questions)"]
    assert "n = 500 test questions, vote of 10 attempts; timed: 64 questions, 3 paired repeats" in chart.caption
    assert "litestage 1.31" in chart.label
    levels = [shape["y0"] for shape in chart.spec["layout"]["shapes"] if shape["y0"] == shape["y1"]]
    assert levels == [66.0]


def test_two_runs_share_the_accuracy_figure(results: Document) -> None:
    chart = accuracy_chart({"one": results, "two": results})
    traces = _traces(chart)
    assert len(traces) == 10
    assert traces["one: litestage"]["marker"]["symbol"] == "diamond"
    assert traces["two: litestage"]["marker"]["symbol"] == "diamond-open"
    assert "Filled marks: one; hollow marks: two." in chart.caption


def test_names_are_escaped_where_plotly_reads_markup(results: Document, plan: Document) -> None:
    results["methods"][4]["name"] = '<a href="x">b</a>'
    assert "&lt;a href" in str(accuracy_chart({"run": results}).spec)
    assert "<a href" not in str(accuracy_chart({"run": results}).spec)
    assert "<a href" not in str(tokens_chart(results).spec)
    plan["stages"] = {"<b>": plan["stages"]["recall"]}
    assert "<b>" not in str(skips_chart(plan).spec["data"])


def test_the_map_of_skipped_sub_layers(plan: Document) -> None:
    plan["stages"]["summarize"]["later"] = [{"step": 2, "skip": [1]}, {"step": 5, "skip": [1, 8]}]
    chart = skips_chart(plan)
    traces = _traces(chart)
    places = {
        kind: list(zip(traces[f"{kind}, skipped"]["y"], traces[f"{kind}, skipped"]["x"], strict=True))
        for kind in ("attention", "feed-forward")
    }
    assert places["attention"] == [("recall", 2), ("analyze", 2), ("summarize", 8)]
    assert places["feed-forward"] == [
        ("recall", 5), ("recall", 9), ("recall", 15), ("analyze", 5), ("summarize", 1),
    ]  # fmt: skip
    assert sum(len(trace["x"]) for trace in traces.values()) == 3 * 16
    assert "recall: 2, 5, 9, 15; analyze: 2, 5; summarize: 1, 8" in chart.label


@pytest.mark.parametrize(
    ("draw", "field", "left_out"),
    [
        (budgets_chart, "budgets", {"full depth", "full depth (control)"}),
        (tokens_chart, "tokens_per_question", {"full depth (control)"}),
    ],
)
def test_bars_by_stage(draw: Callable[[Document], Chart], field: str, left_out: set[str], results: Document) -> None:
    chart = draw(results)
    traces = _traces(chart)
    methods = {m["name"]: m for m in results["methods"] if m["name"] not in left_out}
    assert list(traces) == list(methods)
    for name, trace in traces.items():
        assert dict(zip(trace["x"], trace["y"], strict=True)) == methods[name][field]
        assert len(trace["text"]) == 3
    assert len({trace["marker"]["pattern"]["shape"] for trace in traces.values()}) == len(traces)
    assert all(_axes(chart))


def test_importance_by_kind_and_stage(importance: Document) -> None:
    chart = importance_chart(importance)
    traces = _traces(chart)
    assert traces["attention, mean over stages"]["x"] == list(range(0, 16, 2))
    assert traces["feed-forward, mean over stages"]["y"] == importance["similarity"][1::2]
    assert "recall (n = 50)" in traces
    faint = [trace for trace in chart.spec["data"] if trace.get("opacity")]
    assert len(faint) == 6
    assert len({trace["line"]["dash"] for trace in faint}) == 3
    assert "ranked by something else" not in chart.caption
    assert "search.ranking is loss" in importance_chart(importance, "loss").caption

"""The interactive figures of an experiment: one a panel, escaped, with bars and labels."""

from __future__ import annotations

from typing import Any

from litestage.report.experiment_charts import experiment_charts, table, texts

Document = dict[str, Any]


def test_every_panel_but_texts_is_a_chart(experiment: Document) -> None:
    charts = experiment_charts(experiment)
    assert [chart.id for chart in charts] == [f"experiment-motivation-{i}" for i in (1, 2, 3)]
    assert [chart.spec["data"][0]["type"] for chart in charts] == ["scatter", "bar", "heatmap"]
    for chart in charts[:2]:
        assert chart.spec["layout"]["yaxis"]["title"]["text"] == "accuracy (%)"
        assert [trace["name"] for trace in chart.spec["data"]] == ["with &lt;exit&gt;", "without"]
    assert charts[0].spec["data"][1]["y"] == [50.0] * 3
    assert charts[0].spec["data"][1]["error_y"]["array"] == [1.5] * 3
    assert charts[1].spec["data"][1]["error_y"]["arrayminus"] == [10.0] * 3
    assert charts[2].spec["data"][0]["z"][1] == [None, 50.0, None]
    assert charts[0].caption == "Bars: ± standard error (points)."
    assert "accuracy (%) over budget (sub-layers)" in charts[0].label


def test_series_differ_without_colour(experiment: Document) -> None:
    lines, bars, _ = experiment_charts(experiment)
    for keys in (("marker", "symbol"), ("line", "dash")):
        assert len({trace[keys[0]][keys[1]] for trace in lines.spec["data"]}) == 2
    assert len({trace["marker"]["pattern"]["shape"] for trace in bars.spec["data"]}) == 2


def test_texts_and_the_flat_table(experiment: Document) -> None:
    assert texts(experiment) == [("", [("recall", "Wood floats", "on $5 of water.")])]
    heads, rows = table(experiment)
    assert heads[3] == "accuracy (%)"
    assert rows[0] == ["with <exit>", "recall", "0", "60", "1.5", "40", "90", "", ""]

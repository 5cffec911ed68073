"""An experiment as interactive figures of the page, one a panel; texts become a table with the cut part marked.

[chart.title for chart in experiment_charts(document)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from litestage.report.canvas import DASHES, INK, Chart, bar, marker, new_chart, spec
from litestage.report.panels import (
    MANY,
    Document,
    Series,
    bars_meaning,
    grid_of,
    looks_of,
    rows_of,
    series_of,
    title_of,
)
from litestage.report.style import Style


def experiment_charts(document: Document) -> list[Chart]:
    """A chart for each panel but the texts."""
    looks, drawn = looks_of(document), []
    for number, panel in enumerate(document["panels"], 1):
        if panel["kind"] != "text":
            drawn.append(_chart(document, panel, f"experiment-{document['name']}-{number}", looks))
    return drawn


def texts(document: Document) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Title of each panel of texts -> head, text and cut part of its rows."""
    return [
        (
            panel["title"],
            [(str(r[panel["x"]]), str(r[panel["y"]]), str(r[panel["value"]])) for r in rows_of(document, panel)],
        )
        for panel in document["panels"]
        if panel["kind"] == "text"
    ]


def table(document: Document) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the flat table, as texts."""
    names = [column["name"] for column in document["columns"]]
    return [column["title"] for column in document["columns"]], [
        [_cell(row[name]) for name in names] for row in document["rows"]
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chart(document: Document, panel: Document, name: str, looks: Mapping[str, Style]) -> Chart:
    x, y = title_of(document, panel["x"]), title_of(document, panel["y"])
    figure = new_chart(x, y)
    width = 0
    if panel["kind"] == "map":
        columns, lines, values = grid_of(document, panel)
        shade = title_of(document, panel["value"])
        figure.add_heatmap(
            x=columns,
            y=[escape(line) for line in lines],
            z=values,
            colorscale="Cividis",
            colorbar={"title": {"text": escape(shade), "side": "right", "font": {"size": 11}}, "thickness": 12},
            hovertemplate=f"{escape(x)} %{{x}}, %{{y}}: %{{z:.4g}}<extra></extra>",
        )
        figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
        said = f"Map of {shade} over {x} and {y}"
    else:
        found = series_of(document, panel)
        for series in found:
            trace = _bar if panel["kind"] == "bars" else _line
            figure.add_trace(trace(series, looks[series.name], list(looks).index(series.name)))
        if panel["kind"] == "bars":
            figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.08)
            figure.update_xaxes(showgrid=False, type="category")
            width = 70 + 24 * sum(len(series.x) for series in found)
        said = f"{panel['kind'].capitalize()} of {y} over {x}: {', '.join(s.name or y for s in found)}"
    title = panel["title"] or document["title"]
    return Chart(name, title, bars_meaning(document, panel), f"{said}.", spec(figure), 400, width=width)


def _line(series: Series, style: Style, number: int) -> dict[str, Any]:
    many = len(series.x) > MANY
    return {
        "type": "scatter",
        "x": list(series.x),
        "y": list(series.y),
        "mode": "lines" if many else "lines+markers",
        "name": escape(series.name),
        "showlegend": bool(series.name),
        "line": {"color": style.color, "dash": ("solid", *DASHES)[number % (1 + len(DASHES))], "width": 1.6},
        "marker": marker(style, 9),
        "error_y": _reach(series.below, series.above, style, many),
        "error_x": _reach(series.left, series.right, style, many),
        "hovertemplate": "%{x:.4g}: %{y:.4g}",
    }


def _bar(series: Series, style: Style, number: int) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": [escape(str(x)) for x in series.x],
        "y": list(series.y),
        "name": escape(series.name),
        "showlegend": bool(series.name),
        "marker": bar(style),
        "error_y": _reach(series.below, series.above, Style(INK, ""), False),
        "hovertemplate": "%{x}: %{y:.4g}",
    }


def _reach(below: Sequence[float], above: Sequence[float], style: Style, many: bool) -> dict[str, Any] | None:
    if many or not any((*below, *above)):
        return None
    reach = {"array": list(above), "arrayminus": list(below), "symmetric": False}
    return {**reach, "color": style.color, "thickness": 1.2, "width": 3}

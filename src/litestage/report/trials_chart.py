"""Interactive figures of a search: accuracy and latency against the budget, one figure a searched stage.

[chart.title for chart in search_charts(profile)]     # ["Search, 1. analyze", "Search, 2. summarize"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from litestage.report.canvas import INK, MUTED, Chart, axis, new_chart, spec
from litestage.report.style import BLUE, GREEN, RED
from litestage.report.words import FULL, GIVEN_UP, budget, percent

Document = Mapping[str, Any]
Value = Callable[[Document], float | None]


def search_charts(search: Document) -> list[Chart]:
    """One chart a searched stage, in the order of the search."""
    stages = list(dict.fromkeys(trial["stage"] for trial in search["trials"]))
    return [_search_chart(search, stage, number) for number, stage in enumerate(stages, 1)]


def _search_chart(search: Document, stage: str, number: int) -> Chart:
    trials = sorted((t for t in search["trials"] if t["stage"] == stage), key=lambda trial: trial["budget"])
    full, n = search["full_depth"], search["full_depth"]["n"]
    figure = new_chart("budget (skipped sub-layers)", "accuracy (%)")
    _curve(figure, trials, "y", _accuracy, n)
    _curve(figure, trials, "y2", _latency, n)
    ends = [trials[0]["budget"], trials[-1]["budget"]]
    for place, height, name, color, dash in (
        ("y", 100 * search["target"], "accuracy target", GREEN, "dash"),
        ("y", 100 * full["accuracy"], FULL, MUTED, "dot"),
        ("y2", sum(full["latency"].values()), FULL, MUTED, "dot"),
    ):
        figure.add_scatter(
            x=ends,
            y=[height] * 2,
            yaxis=place,
            mode="lines",
            line={"color": color, "dash": dash, "width": 1.8},
            name=name,
            legendgroup=name,
            showlegend=place == "y",
            hovertemplate=f"{name}: %{{y:.4g}}<extra></extra>",
        )
    figure.update_layout(
        legend={"font": {"size": 11}},
        yaxis={"domain": [0.54, 1]},
        yaxis2={**axis("latency (s / question)"), "domain": [0, 0.46], "anchor": "x"},
        xaxis={"anchor": "y2"},
    )
    chosen = next((f" Chosen: {_told(t, n, ', ')}." for t in trials if t["chosen"]), "")
    caption = f"Accuracy on n = {n} validation questions; latency of all stages, as the calibrated costs predict it."
    label = f"Accuracy and latency of {len(trials)} trials against the budget.{chosen}"
    return Chart(f"search-{number}", f"Search, {number}. {stage}", caption, label, spec(figure), 560)


def _curve(figure: go.Figure, trials: Sequence[Document], place: str, value: Value, n: int) -> None:
    """One value against the budget: a line through the plain trials, a mark for each by what became of it."""
    color = BLUE if place == "y" else RED
    whole = [t for t in trials if _plain(t) and not t["stopped"] and value(t) is not None]
    x, y = [t["budget"] for t in whole], [value(t) for t in whole]
    line = {"color": color, "width": 1.5}
    figure.add_scatter(x=x, y=y, yaxis=place, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    for name, symbol, size, keep in _GROUPS:
        found = [t for t in trials if keep(t) and value(t) is not None]
        shade = INK if name == "chosen" else color
        figure.add_scatter(
            x=[t["budget"] for t in found],
            y=[value(t) for t in found],
            yaxis=place,
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=bool(found) and place == "y",
            marker={"symbol": symbol, "size": size, "color": shade, "line": {"width": 2, "color": shade}},
            customdata=[_told(t, n, "<br>") for t in found],
            hovertemplate="%{customdata}<extra></extra>",
        )


def _plain(trial: Document) -> bool:
    """A trial of a budget alone, as in the paper."""
    return trial["exit"] is None and not trial["prefill"]


def _accuracy(trial: Document) -> float:
    return 100 * float(trial["accuracy"])


def _latency(trial: Document) -> float | None:
    return None if trial["latency"] is None else float(trial["latency"])


def _told(trial: Document, n: int, between: str) -> str:
    """A trial in words, for pointing at it."""
    parts = [budget(trial["budget"])]
    if trial["exit"] is not None:
        parts.append(f"early exit below {trial['exit']:.2f}")
    if trial["prefill"]:
        parts.append("skips in prefill too")
    parts.append(f"{'at most ' if trial['stopped'] else ''}{percent(trial['accuracy'])} %")
    if trial["stopped"]:
        parts.append(f"given up after {trial['answered']} of {n}: {GIVEN_UP[trial['stopped']]}")
    elif trial["latency"] is not None:
        parts.append(f"{trial['latency']:.4g} s / question")
    return between.join(parts)


_GROUPS: tuple[tuple[str, str, int, Callable[[Document], bool]], ...] = (
    ("reaches the target", "circle", 9, lambda t: _plain(t) and t["feasible"]),
    ("below the target", "x-thin", 9, lambda t: _plain(t) and not t["feasible"] and not t["stopped"]),
    ("given up (at most)", "triangle-down-open", 10, lambda t: bool(t["stopped"])),
    ("with exit or in prefill", "square-open", 8, lambda t: not _plain(t) and not t["stopped"]),
    ("chosen", "circle-open", 18, lambda t: t["chosen"]),
)
"""Name, marker, its size, and which trials."""

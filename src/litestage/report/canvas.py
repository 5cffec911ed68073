"""What all interactive figures of the page share: axes, colours for light and dark screens, the plain JSON.

    figure = new_chart("budget (skipped sub-layers)", "accuracy (% of questions)")
    figure.add_trace(...)
    spec(figure)["data"]

Series differ by colour, marker, dash and pattern; the page swaps `DARK` colours in where the reader's screen is dark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from litestage.report.style import BLACK, BLUE, RED, Style

INK, MUTED, GRID, PAPER = "#1b2126", "#5b646d", "#dde2e7", "#fefefe"
DARK = {
    INK: "#e8eaed",
    MUTED: "#a3adb7",
    GRID: "#39424b",
    PAPER: "#20262c",
    BLACK: "#ffffff",
    BLUE: "#3d9be0",
    RED: "#f07a2b",
}
"""Colour on a light screen -> colour on a dark one; the others are seen on both."""

DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = {
    "o": "circle",
    "p": "pentagon",
    "D": "diamond",
    "^": "triangle-up",
    "s": "square",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
}
_PATTERNS = {"//": "/", "\\\\": "\\", "xx": "x", "--": "-", "++": "+", "..": ".", "||": "|", "oo": ".", "**": "+"}


@dataclass(frozen=True)
class Chart:
    """One figure: what the page says about it, and its specification."""

    id: str
    title: str
    caption: str
    label: str
    """What a screen reader says in place of the picture."""
    spec: dict[str, Any]
    height: int = 420
    """Pixels."""
    width: int = 0
    """Pixels that it needs at least; on a narrower screen it scrolls."""


def new_chart(x: str, y: str) -> go.Figure:
    """An empty figure, transparent, with its legend below; `x` and `y` are the titles of its axes."""
    figure = go.Figure()
    figure.update_layout(
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 62, "r": 18, "t": 14, "b": 50},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "xref": "container", "x": 0},
        hoverlabel={"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}},
        xaxis=axis(x),
        yaxis=axis(y),
    )
    return figure


def axis(title: str) -> dict[str, Any]:
    """One axis of a figure."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickcolor": MUTED,
        "ticks": "outside",
        "showline": True,
        "zeroline": False,
        "automargin": True,
    }


def marker(style: Style, size: int, hollow: bool = False) -> dict[str, Any]:
    """The marker of a series; a hollow one is of the second of two runs."""
    symbol = _SYMBOLS.get(style.marker, "circle")
    if hollow:
        return {"symbol": f"{symbol}-open", "size": size, "color": style.color, "line": {"width": 2.5}}
    return {"symbol": symbol, "size": size, "color": style.color, "line": {"width": 1, "color": INK}}


def bar(style: Style) -> dict[str, Any]:
    """The filling of a series of bars."""
    pattern = {"shape": _PATTERNS.get(style.hatch, ""), "fgcolor": BLACK, "fillmode": "overlay", "size": 6}
    return {"color": style.color, "line": {"color": INK, "width": 1}, "pattern": pattern}


def spec(figure: go.Figure) -> dict[str, Any]:
    """The figure as plain JSON, without plotly's template."""
    made: dict[str, Any] = json.loads(figure.to_json())
    made["layout"].pop("template", None)
    return made

"""An experiment as one picture: a grid of its panels. Lines, bars, maps and texts are drawn alike in all experiments.

draw_experiment(document, Path("checkpoints/miniworld/experiments/motivation.png"))
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from litestage.report.figures import DASHES
from litestage.report.panels import (
    MANY,
    Document,
    about,
    bars_meaning,
    grid_of,
    looks_of,
    rows_of,
    series_of,
    title_of,
)
from litestage.report.style import RED, Style, new_figure, save, tidy

WIDE = 105
"""Signs in a line of text."""
LINE = 0.19
"""Height of a line of text, in inches."""


def draw_experiment(document: Document, path: Path) -> Path:
    """Write `experiment_figure` of an experiment's document."""
    return save(experiment_figure(document), path)


def experiment_figure(document: Document) -> Figure:
    """All panels of an experiment."""
    panels = document["panels"]
    if all(panel["kind"] == "text" for panel in panels):
        return _texts(document)
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(max(6.4, 4.2 * columns), (4.0 if lines == 1 else 3.3) * lines + 1.3)
    grid = figure.subplots(lines, columns, squeeze=False)
    looks = looks_of(document)
    shown: dict[str, Artist] = {}
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_visible(False)
            continue
        panel = panels[number]
        axes.set_title(panel["title"], fontsize=11)
        _DRAWN[panel["kind"]](axes, document, panel, looks)
        handles, names = axes.get_legend_handles_labels()
        shown |= {name: handle for name, handle in zip(names, handles, strict=True) if name not in shown}
    _say(figure, document, 50 * columns, shown)
    return figure


def _say(figure: Figure, document: Document, wide: int, shown: Mapping[str, Artist]) -> None:
    """Title above; below what the numbers are about, what the bars mean, and the legend."""
    figure.suptitle(document["title"], fontsize=13)
    meanings = dict.fromkeys(bars_meaning(document, panel) for panel in document["panels"])
    parts = [about(document), *(meaning for meaning in meanings if meaning)]
    told = "\n".join(line for part in parts for line in textwrap.wrap(part, max(wide, 78)))
    if not shown:
        figure.supxlabel(told, fontsize=8, color="0.25")
        return
    legend = figure.legend(
        list(shown.values()),
        list(shown),
        title=told,
        title_fontsize=8,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    legend.get_title().set(color="0.25", multialignment="center")


def _lines(axes: Axes, document: Document, panel: Document, looks: Mapping[str, Style]) -> None:
    tidy(axes)
    _name(axes, document, panel)
    order = list(looks)
    for series in series_of(document, panel):
        style, many, place = looks[series.name], len(series.x) > MANY, order.index(series.name)
        dash = ("-", *DASHES)[place % (1 + len(DASHES))]
        if many:
            every = -(-len(series.x) // 12)
            axes.plot(series.x, series.y, dash, color=style.color, linewidth=1.3, label=series.name or None)
            axes.plot(series.x[::every], series.y[::every], style.marker, color=style.color, markersize=5)
            continue
        axes.errorbar(
            series.x,
            series.y,
            yerr=_both(series.below, series.above),
            xerr=_both(series.left, series.right),
            color=style.color,
            marker=style.marker,
            linestyle=dash,
            linewidth=1.3,
            elinewidth=1,
            capsize=2.5,
            markersize=max(4.0, 8.5 - 1.2 * place),  # what lies below looks out
            markeredgecolor="black",
            markeredgewidth=0.6,
            label=series.name or None,
        )
    if all(isinstance(row[panel["x"]], int) for row in rows_of(document, panel) if row[panel["x"]] is not None):
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _bars(axes: Axes, document: Document, panel: Document, looks: Mapping[str, Style]) -> None:
    tidy(axes)
    _name(axes, document, panel)
    axes.grid(visible=False, axis="x")
    found = series_of(document, panel)
    groups = list(dict.fromkeys(str(x) for series in found for x in series.x))
    width = 0.8 / max(1, len(found))
    for number, series in enumerate(found):
        style = looks[series.name]
        places = [groups.index(str(x)) + (number - (len(found) - 1) / 2) * width for x in series.x]
        axes.bar(
            places,
            series.y,
            0.92 * width,
            yerr=_both(series.below, series.above),
            color=style.color,
            hatch=style.hatch,
            edgecolor="black",
            linewidth=0.8,
            error_kw={"ecolor": "0.45", "elinewidth": 1.5, "capsize": 3},
            label=series.name or None,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)


def _map(axes: Axes, document: Document, panel: Document, looks: Mapping[str, Style]) -> None:
    _name(axes, document, panel)
    x, y, values = grid_of(document, panel)
    cells = np.array([[np.nan if value is None else value for value in line] for line in values], dtype=float)
    shades = axes.imshow(cells, cmap="cividis", aspect="auto", interpolation="nearest")
    every = -(-len(x) // 12)
    axes.set_xticks(range(0, len(x), every), [str(column) for column in x[::every]])
    axes.set_yticks(range(len(y)), y)
    figure = axes.get_figure()
    if figure is not None:
        said = "\n".join(textwrap.wrap(title_of(document, panel["value"]), 26))
        figure.colorbar(shades, ax=axes, shrink=0.9).set_label(said, fontsize=8)


_DRAWN = {"lines": _lines, "bars": _bars, "map": _map}


def _name(axes: Axes, document: Document, panel: Document) -> None:
    for column, name, wide in ((panel["x"], axes.set_xlabel, 56), (panel["y"], axes.set_ylabel, 38)):
        name("\n".join(textwrap.wrap(title_of(document, column), wide)), fontsize=9)


def _both(below: Sequence[float], above: Sequence[float]) -> Any:
    return [list(below), list(above)] if any((*below, *above)) else None


def _texts(document: Document) -> Figure:
    """Texts under their heads; what was cut off is struck out in words, so that it shows without colour."""
    told: list[tuple[str, dict[str, Any]]] = [(line, {}) for line in _wrapped(document["question"], "")]
    for panel in document["panels"]:
        told += [("", {}), (panel["title"], {"fontweight": "bold"})]
        for row in rows_of(document, panel):
            told += [(line, {}) for line in _wrapped(f"{row[panel['x']]}: {row[panel['y']]}", "    ")]
            if row[panel["value"]]:
                cut = _wrapped(f"[cut: {row[panel['value']]}]", "        ")
                told += [(line, {"color": RED, "style": "italic"}) for line in cut]
    figure = new_figure(9.0, LINE * len(told) + 1.3)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(told), 0))
    for number, (line, look) in enumerate(told):
        axes.text(0, number + 0.5, line, family="monospace", fontsize=8, va="center", **look)
    _say(figure, document, WIDE, {})
    return figure


def _wrapped(text: str, indent: str) -> list[str]:
    text = text.replace("$", r"\$")  # a lone dollar begins a formula
    return textwrap.wrap(text, WIDE, initial_indent=indent, subsequent_indent=indent + "  ") or [indent]

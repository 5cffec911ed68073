"""What the pictures and the page's charts of an experiment share: the series of a panel, their looks, what is said.

    for panel in document["panels"]:
        for series in series_of(document, panel): ...     # x, y, bars

A panel is a `Panel` of `experiments/result.py` as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestage.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, Style, known_style, styles
from litestage.report.words import ballot

Document = Mapping[str, Any]

MANY = 40
"""Points of a line above which it is drawn without bars and with few marks."""


@dataclass(frozen=True)
class Series:
    """Points of one name; the bars reach so far to either side, and are empty where there are none."""

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    below: Sequence[float] = ()
    above: Sequence[float] = ()
    left: Sequence[float] = ()
    right: Sequence[float] = ()


def series_of(document: Document, panel: Document) -> list[Series]:
    """The series of a panel in the order of the rows; a point without x or y is left out."""
    groups: dict[str, list[Document]] = {}
    for row in rows_of(document, panel):
        if row[panel["x"]] is not None and row[panel["y"]] is not None:
            groups.setdefault(str(row[panel["by"]]) if panel["by"] else "", []).append(row)
    return [
        Series(
            name,
            [row[panel["x"]] for row in rows],
            [row[panel["y"]] for row in rows],
            *_bars(rows, panel["y"], panel["error"]),
            *_bars(rows, panel["x"], panel["x_error"]),
        )
        for name, rows in groups.items()
    ]


def rows_of(document: Document, panel: Document) -> list[Document]:
    """The rows that a panel shows."""
    return [row for row in document["rows"] if all(row[name] == value for name, value in panel["where"].items())]


def grid_of(document: Document, panel: Document) -> tuple[list[Any], list[str], list[list[float | None]]]:
    """Columns, lines and values of a map; a place without a value is `None`."""
    rows = rows_of(document, panel)
    x = sorted({row[panel["x"]] for row in rows})
    y = list(dict.fromkeys(str(row[panel["y"]]) for row in rows))
    found = {(row[panel["x"]], str(row[panel["y"]])): row[panel["value"]] for row in rows}
    return x, y, [[found.get((column, line)) for column in x] for line in y]


def title_of(document: Document, column: str) -> str:
    """What a column is called, with its unit."""
    return next(str(c["title"]) for c in document["columns"] if c["name"] == column)


def looks_of(document: Document) -> dict[str, Style]:
    """Series -> style, the same in all panels. The names of methods look as they do elsewhere."""
    panels = [panel for panel in document["panels"] if panel["kind"] in ("lines", "bars")]
    found = dict.fromkeys(series.name for panel in panels for series in series_of(document, panel))
    names = sorted(found, key=bool)  # a series without a name comes first, which is a solid line
    if any(known_style(name) for name in names):
        return styles(names)
    return {name: _LOOKS[number % len(_LOOKS)] for number, name in enumerate(names)}


def about(document: Document) -> str:
    """What the numbers are about, in a sentence or two."""
    where = document["environment"]
    timed = f", timings of each plan: {document['repeats']}" if document["repeats"] else ""
    return (
        f"{document['run']}: {document['model']} ({document['num_sublayers']} sub-layers), {document['benchmark']}; "
        f"n = {document['n']} {document['split']} question{'s' * (document['n'] != 1)}, {ballot(document['attempts'])}"
        f"{timed}; batch size {document['batch_size']}, {where['dtype']}, {where['device']}, seed {document['seed']}."
    )


def bars_meaning(document: Document, panel: Document) -> str:
    """What the error bars of a panel are; empty where it has none."""
    said = []
    for columns in (panel["error"], panel["x_error"]):
        titles = [title_of(document, column) for column in columns]
        said += [f"± {titles[0]}" if len(titles) == 1 else " to ".join(titles)] if titles else []
    return f"Bars: {'; '.join(said)}." if said else ""


def _bars(rows: Sequence[Document], of: str, columns: Sequence[str]) -> tuple[list[float], list[float]]:
    """How far the bars reach below and above."""
    if not columns:
        return [], []
    if len(columns) == 1:
        reach = [row[columns[0]] or 0.0 for row in rows]
        return reach, reach
    low, high = ([row[of] if row[column] is None else row[column] for row in rows] for column in columns)
    below = [max(0.0, row[of] - end) for row, end in zip(rows, low, strict=True)]
    return below, [max(0.0, end - row[of]) for row, end in zip(rows, high, strict=True)]


_LOOKS = (
    Style(BLUE, "o", "//"),
    Style(RED, "s", "\\\\"),
    Style(GREEN, "^", "xx"),
    Style(PURPLE, "D", "--"),
    Style(ORANGE, "v", "++"),
    Style(SKY, "P", ".."),
    Style(BLACK, "X", "||"),
)

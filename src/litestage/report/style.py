"""How every figure looks: colours safe for colour-blind readers, markers and hatches for black and white.

An example:

    styles(["adaskip", "litestage"])["litestage"].color    # "#D55E00"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, inf
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
"""The eight colours of Okabe and Ito."""

DPI = 150
"""Dots per inch of a written figure."""
NEAR = 12
"""Points between a label and its data point above which a thin line joins them."""
SAME = 4.0
"""Pixels between two points below which they are one to the eye, and by which a label must be nearer to its own."""
ASTRAY = 25.0
"""Covered pixels that a label may cost for each pixel by which it is nearer to another point."""


@dataclass(frozen=True)
class Style:
    """Colour, marker and hatch of one series."""

    color: str
    marker: str
    hatch: str = ""


@dataclass(frozen=True)
class Label:
    """A text that belongs to the data point (`x`, `y`), whose error bars reach over `x_range` and `y_range`."""

    text: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]


_KNOWN = {
    "full depth": Style(BLACK, "o"),
    "full depth (control)": Style(SKY, "p", ".."),
    "litestage": Style(RED, "D", "//"),
    "litestage without exit": Style(ORANGE, "^", "\\\\"),
    "adaskip": Style(BLUE, "s", "xx"),
}
_OTHERS = [
    Style(GREEN, "v", "--"),
    Style(PURPLE, "P", "++"),
    Style(YELLOW, "X", "oo"),
    Style("#999999", "<", "**"),
    Style("#A6761D", ">", "||"),
    Style("#B2DF8A", "h", "OO"),
]


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Name -> style. Names without a style of their own take turns at the remaining ones."""
    names = list(names)
    others = [name for name in names if name not in _KNOWN]
    return {name: _KNOWN.get(name) or _OTHERS[others.index(name) % len(_OTHERS)] for name in names}


def known_style(name: str) -> Style | None:
    """The style that only this name has, if it has one."""
    return _KNOWN.get(name)


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure, in inches, that lays itself out and belongs to no global state."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def tidy(axes: Axes) -> None:
    """A light grid behind the data and a frame on two sides only."""
    axes.set_axisbelow(True)
    axes.grid(color="0.9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, making its folder; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.1)
    return path


def place_labels(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label where it covers least of the other labels, points and bars, and is nearest to its own point."""
    figure.draw_without_rendering()
    points = [axes.transData.transform((label.x, label.y)) for label in labels]
    taken = [box for label in labels for box in _obstacles(axes, label)]
    for number, label in enumerate(labels):
        others = [point for point in points if hypot(*(point - points[number])) > SAME]
        note = axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "0.4", "linewidth": 0.8, "shrinkA": 1, "shrinkB": 5},
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        note.set_in_layout(False)
        best, least = None, inf
        for place in _places():
            _move(note, place)
            box = _extent(note)
            nearest = min((_distance(box, point) for point in others), default=inf)
            astray = max(0.0, _distance(box, points[number]) - nearest + SAME)
            cost = _cost(box, taken, axes.bbox) + ASTRAY * astray
            if cost < least:
                best, least = place, cost
        if best is not None:
            _move(note, best)
            if note.arrow_patch is not None:
                note.arrow_patch.set_visible(abs(best[0]) + abs(best[1]) > NEAR)
        taken.append(_extent(note).padded(3))


def _places() -> list[tuple[float, float, str, str]]:
    """Offsets in points with their alignment, near ones first."""
    places = []
    for reach in (1, 2, 3, 4.5, 6):
        near, flat = 6 * reach, 9 * reach
        places += [(near, near, "left", "bottom"), (near, -near, "left", "top")]
        places += [(-near, near, "right", "bottom"), (-near, -near, "right", "top")]
        places += [(flat, 0.0, "left", "center"), (-flat, 0.0, "right", "center")]
        places += [(0.0, flat, "center", "bottom"), (0.0, -flat, "center", "top")]
    return places


def _extent(note: Annotation) -> Bbox:
    """The box of the text alone, in pixels; the first call moves it to its place."""
    note.get_window_extent()
    return Text.get_window_extent(note)


def _move(note: Annotation, place: tuple[float, float, str, str]) -> None:
    x, y, horizontal, vertical = place
    note.xyann = (x, y)
    note.set(ha=horizontal, va=vertical)


def _cost(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Covered area in pixels, and what lies outside the axes counted much dearer."""
    overlaps = (Bbox.intersection(box, other) for other in taken)
    covered = sum(found.width * found.height for found in overlaps if found is not None)
    seen = Bbox.intersection(box, inside)
    hidden = box.width * box.height - (seen.width * seen.height if seen is not None else 0.0)
    return float(covered + 100 * hidden)


def _distance(box: Bbox, point: NDArray[np.float64]) -> float:
    """Pixels between a box and a point; 0 inside."""
    x, y = point
    return hypot(max(box.x0 - x, x - box.x1, 0.0), max(box.y0 - y, y - box.y1, 0.0))


def _obstacles(axes: Axes, label: Label) -> list[Bbox]:
    """Boxes, in pixels, of a point's marker and its two error bars."""
    x, y = axes.transData.transform((label.x, label.y))
    left, bottom = axes.transData.transform((label.x_range[0], label.y_range[0]))
    right, top = axes.transData.transform((label.x_range[1], label.y_range[1]))
    return [
        Bbox.from_extents(x - 9, y - 9, x + 9, y + 9),
        Bbox.from_extents(left - 2, y - 4, right + 2, y + 4),
        Bbox.from_extents(x - 4, bottom - 2, x + 4, top + 2),
    ]

"""What the figures share."""

from __future__ import annotations

import json
import re

from litestage.report.canvas import DARK, PAPER, bar, marker, new_chart, spec
from litestage.report.style import styles

NAMES = [
    "full depth", "full depth (control)", "litestage", "litestage without exit", "adaskip", "adaskip scaled",
    "unifiedskip", "skipdecode", "shortgpt", "every-mth", "random",
]  # fmt: skip


def _light(color: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_method_has_its_own_marker_and_look() -> None:
    looks = styles(NAMES)
    assert len({marker(style, 10)["symbol"] for style in looks.values()}) == len(NAMES)
    assert len({(style.color, bar(style)["pattern"]["shape"]) for style in looks.values()}) == len(NAMES)


def test_a_second_run_is_hollow() -> None:
    style = styles(["litestage"])["litestage"]
    assert marker(style, 10)["symbol"] == "diamond"
    assert marker(style, 10, hollow=True)["symbol"] == "diamond-open"


def test_dark_colours_stand_out_from_dark_paper() -> None:
    assert all(re.fullmatch("#[0-9a-fA-F]{6}", color) for pair in DARK.items() for color in pair)
    paper = _light(DARK[PAPER])
    shown = [style.color for style in styles(NAMES).values()]
    for color in [DARK.get(color, color) for color in shown]:
        assert (_light(color) + 0.05) / (paper + 0.05) > 3, color


def test_a_chart_is_plain_json_without_a_template() -> None:
    figure = new_chart("budget", "accuracy (%)")
    figure.add_scatter(x=[1, 2], y=[3, 4])
    made = spec(figure)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["data"][0]["y"] == [3, 4]  # numbers, not packed bytes
    assert made["layout"]["xaxis"]["title"]["text"] == "budget"
    assert "template" not in made["layout"]

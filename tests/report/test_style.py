"""Series stay apart without colour, and labels stay apart from each other."""

from __future__ import annotations

from itertools import combinations
from math import hypot
from pathlib import Path

from matplotlib.image import imread
from matplotlib.text import Annotation, Text

from litestage.report.style import DPI, Label, new_figure, place_labels, save, styles

NAMES = ["full depth", "full depth (control)", "litestage", "litestage without exit", "adaskip", "shortgpt", "random"]


def test_colour_marker_and_hatch_all_differ() -> None:
    found = styles(NAMES)
    for field in ("color", "marker", "hatch"):
        assert len({getattr(style, field) for style in found.values()}) == len(NAMES)


def test_a_method_keeps_its_style_when_known_ones_are_left_out() -> None:
    assert styles(NAMES[2:])["shortgpt"] == styles(NAMES)["shortgpt"]


def test_labels_of_close_points_do_not_overlap_and_stay_inside() -> None:
    figure = new_figure(7, 5)
    axes = figure.subplots()
    points = [(1.0, 60.0), (1.001, 60.1), (1.002, 59.9), (1.2, 50.0), (0.9, 40.0)]
    axes.plot(*zip(*points, strict=True), "o")
    axes.margins(0.2, 0.2)
    place_labels(figure, axes, [Label(f"method {i}", x, y, (x, x), (y, y)) for i, (x, y) in enumerate(points)])
    figure.draw_without_rendering()
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    boxes = [Text.get_window_extent(note) for note in notes]
    assert len(boxes) == len(points)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    for box in boxes:
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0
        assert box.y1 <= axes.bbox.y1


def test_a_label_is_nearest_to_its_own_point_where_others_are_close() -> None:
    """As in a comparison on a wide scale: two methods a little faster than full depth, one far slower."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    points = [(1.0, 76.0), (1.055, 76.0), (1.065, 70.0), (0.25, 0.0)]
    axes.plot(*zip(*points, strict=True), "o")
    axes.margins(0.2, 0.2)
    place_labels(figure, axes, [Label(f"full depth {i}", x, y, (x, x), (y, y)) for i, (x, y) in enumerate(points)])
    figure.draw_without_rendering()
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    places = [axes.transData.transform(point) for point in points]
    for number, note in enumerate(notes):
        box = Text.get_window_extent(note)
        away = [hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0)) for x, y in places]
        assert min(away) == away[number], (number, away)


def test_save_makes_the_folder_and_a_white_png(tmp_path: Path) -> None:
    figure = new_figure(3, 2)
    figure.subplots().plot([0, 1], [0, 1])
    path = save(figure, tmp_path / "new" / "a.png")
    image = imread(path)
    assert image.shape[1] >= 2.5 * DPI
    assert image[0, 0, :3].tolist() == [1, 1, 1]

"""The picture of an experiment names its axes, shows its data and bars, and is readable without colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litestage.report.experiment_figure import draw_experiment, experiment_figure

Document = dict[str, Any]


@pytest.fixture
def drawn(experiment: Document) -> Document:
    """Without the text, which has a picture of its own."""
    return {**experiment, "panels": experiment["panels"][:3]}


def test_panels_have_axes_with_names_data_and_bars(drawn: Document) -> None:
    figure = experiment_figure(drawn)
    lines, bars, chart, *_ = figure.axes
    assert (lines.get_xlabel(), lines.get_ylabel()) == ("budget (sub-layers)", "accuracy (%)")
    for container, level in zip(lines.containers, (60.0, 50.0), strict=True):
        assert list(container[0].get_ydata()) == [level] * 3
        assert container.has_yerr
    assert [patch.get_height() for patch in bars.patches] == [60.0] * 3 + [50.0] * 3
    assert [tick.get_text() for tick in bars.get_xticklabels()] == ["recall", "analyze", "summarize"]
    shown = chart.images[0].get_array()
    assert np.array_equal(np.diag(shown), [50.0] * 3)
    assert np.isnan(np.asarray(shown.filled(np.nan))).sum() == 6


def test_the_picture_says_what_it_is_about(drawn: Document) -> None:
    figure = experiment_figure(drawn)
    assert figure.get_suptitle() == "A title & more"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["with <exit>", "without"]
    said = legend.get_title().get_text().replace("\n", " ")
    assert "n = 40 test questions" in said
    assert "Bars: ± standard error (points)." in said


def test_series_differ_without_colour(drawn: Document) -> None:
    figure = experiment_figure(drawn)
    marks = [(c[0].get_marker(), c[0].get_linestyle()) for c in figure.axes[0].containers]
    assert len({mark for mark, _ in marks}) == len({dash for _, dash in marks}) == 2
    assert len({patch.get_hatch() for patch in figure.axes[1].patches}) == 2


def test_long_lines_have_few_marks_and_no_bars(drawn: Document) -> None:
    row = drawn["rows"][0]
    drawn["rows"] = [{**row, "budget": i} for i in range(90)]
    axes = experiment_figure({**drawn, "panels": drawn["panels"][:1]}).axes[0]
    whole, marks = axes.lines
    assert (len(whole.get_xdata()), len(marks.get_xdata())) == (90, 12)
    assert not axes.containers


def test_texts_show_the_cut_part_and_read_no_formula(experiment: Document, tmp_path: Path) -> None:
    document = {**experiment, "panels": experiment["panels"][3:]}
    figure = experiment_figure(document)
    lines = [text.get_text().strip() for text in figure.axes[0].texts]
    assert "What <happens>?" in lines
    assert "recall: Wood floats" in lines
    assert r"[cut: on \$5 of water.]" in lines
    assert draw_experiment(document, tmp_path / "text.png").read_bytes()[:4] == b"\x89PNG"

"""The figures hold the data, name their axes, and land where they should."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from litestage.report import figures

Document = dict[str, Any]


def _x(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


def _y(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_accuracy_points_bars_labels_and_reference(results: Document) -> None:
    figure = figures.accuracy_figure(results)
    axes = figure.axes[0]
    bars = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    markers = [bar.lines[0] for bar in bars]
    assert [_x(marker) for marker in markers] == [[m["speedup"]["median"]] for m in results["methods"]]
    assert [_y(marker) for marker in markers] == [[100 * m["accuracy"]] for m in results["methods"]]
    method = results["methods"][2]
    across, up = (collection.get_segments()[0] for collection in bars[2].lines[2])
    assert across[:, 0] == pytest.approx([method["speedup"]["low"], method["speedup"]["high"]])
    assert up[1, 1] - up[0, 1] == pytest.approx(200 * method["accuracy_stderr"])
    notes = [child.get_text() for child in axes.get_children() if isinstance(child, Annotation)]
    assert notes == [m["name"] for m in results["methods"]]
    assert "adaskip (mean skip: 2 full layers)" in _legend(figure)
    assert "level of full depth" in _legend(figure)
    assert axes.get_title().endswith("\nn = 500 questions, vote of 10 attempts")
    assert "%" in axes.get_ylabel()
    assert "times" in axes.get_xlabel()
    levels = [_y(line) for line in axes.lines if line.get_linestyle() == "--"]
    assert [66.0, 66.0] in levels


def test_accuracy_axis_stays_near_possible_values(results: Document) -> None:
    results["methods"][4]["accuracy"] = 0.0
    results["methods"][0]["accuracy"] = 1.0
    low, high = figures.accuracy_figure(results).axes[0].get_ylim()
    assert (low, high) == (-4, 104)


def test_importance_separates_attention_and_feed_forward(importance: Document) -> None:
    figure = figures.importance_figure(importance)
    axes = figure.axes[0]
    strong = {str(line.get_label()): line for line in axes.lines if line.get_marker() != "None"}
    attention, ffn = strong["attention, mean over stages"], strong["feed-forward, mean over stages"]
    assert _x(attention) == list(range(0, 16, 2))
    assert _y(ffn) == importance["similarity"][1::2]
    assert attention.get_marker() != ffn.get_marker()
    assert attention.get_color() != ffn.get_color()
    faint = [line for line in axes.lines if 0 < (line.get_alpha() or 1) < 0.6]
    assert len(faint) == 6
    assert any(_y(line) == importance["stages"]["analyze"]["similarity"][0::2] for line in faint)
    assert axes.get_xlabel() == "sub-layer (2j attention, 2j+1 feed-forward)"
    assert "analyze (n = 50 questions)" in _legend(figure)


def test_budget_bars_and_both_units() -> None:
    budgets = {
        "litestage": {"recall": 4, "analyze": 7, "summarize": 1},
        "adaskip": {"recall": 4, "analyze": 4, "summarize": 4},
    }
    figure = figures.budgets_figure(budgets, "title")
    axes = figure.axes[0]
    heights = [[bar.get_height() for bar in c] for c in axes.containers if isinstance(c, BarContainer)]
    assert heights == [[4, 7, 1, 4], [4, 4, 4, 4]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["recall", "analyze", "summarize", "mean"]
    assert "sub-layers" in axes.get_ylabel()
    right = axes.child_axes[0]
    assert "full layers" in right.get_ylabel()
    assert right.get_yticks() == pytest.approx(np.asarray(axes.get_yticks()) / 2)
    figure.draw_without_rendering()
    assert right.get_ylim() == pytest.approx(np.asarray(axes.get_ylim()) / 2)
    hatches = {bar.get_hatch() for c in axes.containers if isinstance(c, BarContainer) for bar in c}
    assert len(hatches) == 2


def test_budgets_that_are_all_zero_still_make_a_figure() -> None:
    axes = figures.budgets_figure({"litestage": {"recall": 0}}, "title").axes[0]
    assert axes.get_ylim()[1] >= 2
    assert "0" in [text.get_text() for text in axes.texts]


def _points(figure: Figure, place: int) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in figure.axes[place].lines}


def test_search_curves_target_and_choice(profile: Document) -> None:
    figure = figures.search_figure(profile)
    assert len(figure.axes) == 6
    above, below = figure.axes[0], figure.axes[3]
    assert above.get_title() == "1. analyze"
    curve, latency = above.lines[0], below.lines[0]
    trials = [trial for trial in profile["trials"] if trial["stage"] == "analyze"]
    assert _x(curve) == _x(latency) == [0, 2, 4]
    assert _y(curve) == [100 * trial["accuracy"] for trial in trials[:3]]
    assert _y(latency) == [trial["latency"] for trial in trials[:3]]
    found = _points(figure, 0)
    assert _x(found["chosen"]) == [2]
    assert _x(found["below the target"]) == [4]
    assert _x(found["feasible"]) == [0, 2]
    assert _y(found["accuracy target"]) == [65.0, 65.0]
    assert below.get_xlabel() == "budget (skipped sub-layers)"
    assert "s / question" in below.get_ylabel()
    assert "%" in above.get_ylabel()
    assert "n = 200" in figure.get_suptitle()
    groups = {"feasible", "below the target", "given up (at most)", "chosen"}
    assert set(_legend(figure)) == groups | {"accuracy target", "full depth"}


def test_search_marks_what_was_given_up_at_its_bound_and_without_a_latency(profile: Document) -> None:
    figure = figures.search_figure(profile)
    above, below = _points(figure, 0), _points(figure, 3)
    gone = above["given up (at most)"]
    assert (_x(gone), _y(gone)) == ([6, 8], [64.0, 66.0])
    assert gone.get_marker() not in {above[label].get_marker() for label in ("feasible", "below the target", "chosen")}
    assert "given up (at most)" not in below
    assert max(x for line in below.values() for x in _x(line)) == 4


@pytest.mark.parametrize("special", ["exit", "prefill"])
def test_search_shows_exits_and_skipping_in_prefill_only_if_chosen(profile: Document, special: str) -> None:
    trial = next(trial for trial in profile["trials"] if trial[special])
    assert 61.0 not in _y(figures.search_figure(profile).axes[2].lines[0])
    plain = next(t for t in profile["trials"] if t["stage"] == trial["stage"] and t["chosen"])
    plain["chosen"], trial["chosen"] = False, True
    assert _y(_points(figures.search_figure(profile), 2)["chosen"]) == [61.0]


def test_search_draws_also_when_all_but_budget_0_was_given_up(profile: Document, tmp_path: Path) -> None:
    gone = {"latency": None, "tokens": {}, "answered": 8, "stopped": "chance", "feasible": False, "chosen": False}
    for trial in profile["trials"]:
        trial |= {"chosen": True} if trial["budget"] == 0 else gone
    figure = figures.search_figure(profile)
    assert [_x(figure.axes[3 + column].lines[0]) for column in range(3)] == [[0]] * 3
    assert figures.draw_search(profile, tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("draw", "fixture"),
    [
        (figures.draw_accuracy, "results"),
        (figures.draw_budgets, "results"),
        (figures.draw_importance, "importance"),
        (figures.draw_search, "profile"),
        (figures.draw_plan, "plan"),
    ],
)
def test_draw_writes_a_sizeable_png(
    draw: Callable[[Document, Path], Path], fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = draw(request.getfixturevalue(fixture), tmp_path / "a.png")
    image = imread(path)
    assert image.shape[0] > 500
    assert image.shape[1] > 800
    assert image[..., :3].std() > 0.05


def test_draw_budgets_leaves_out_full_depth(results: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    original = figures.budgets_figure

    def spy(budgets: dict[str, dict[str, int]], title: str) -> Figure:
        seen.append(list(budgets))
        return original(budgets, title)

    monkeypatch.setattr(figures, "budgets_figure", spy)
    figures.draw_budgets(results, tmp_path / "a.png")
    results["methods"] = results["methods"][:2]
    figures.draw_budgets(results, tmp_path / "b.png")
    assert seen == [["litestage", "litestage without exit", "adaskip"], ["full depth", "full depth (control)"]]


def _fake_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the slow drawing by a written file."""

    def write(figure: Figure, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"png")
        return path

    monkeypatch.setattr(figures, "save", write)


def test_draw_all_draws_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    _fake_drawings(monkeypatch)
    assert figures.draw_all(tmp_path) == []
    (tmp_path / "plan").mkdir()
    names: list[set[str]] = []
    for fixture, file in (
        ("plan", "plan/plan.json"),
        ("importance", "importance.json"),
        ("profile", "search.json"),
        ("results", "results.json"),
    ):
        (tmp_path / file).write_text(json.dumps(request.getfixturevalue(fixture)))
        drawn = figures.draw_all(tmp_path)
        assert all(path.is_file() and path.parent == tmp_path / "figures" for path in drawn)
        names.append({path.name for path in drawn})
    assert names[0] == {"budgets.png"}
    assert names[2] == {"budgets.png", "importance.png", "search.png"}
    assert names[3] == names[2] | {"accuracy_speedup.png"}


@pytest.mark.parametrize("file", ["results.json", "importance.json", "search.json", "plan/plan.json"])
def test_draw_all_names_a_malformed_file(file: str, tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / file).write_text("{}")
    with pytest.raises(ValueError, match=rf"{file}: .*required property"):
        figures.draw_all(tmp_path)


def test_draw_all_names_an_empty_search(tmp_path: Path, profile: Document) -> None:
    (tmp_path / "search.json").write_text(json.dumps({**profile, "trials": []}))
    with pytest.raises(ValueError, match=r"search\.json: .*no trials"):
        figures.draw_all(tmp_path)


def test_a_file_of_another_version_costs_its_own_figure_only(
    tmp_path: Path, results: Document, profile: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_drawings(monkeypatch)
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "search.json").write_text(json.dumps({**profile, "version": 1}))
    heard: list[str] = []
    drawn = figures.draw_all(tmp_path, heard.append)
    assert [path.name for path in drawn] == ["accuracy_speedup.png", "budgets.png"]
    assert len(heard) == 1
    assert heard[0].startswith(f"no search.png: {tmp_path / 'search.json'}: ")
    assert "$.version: is 1; allowed: 2" in heard[0]


def test_draw_all_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        figures.draw_all(tmp_path / "nowhere")


def test_figures_need_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, litestage.report.figures, litestage.report.table; "
        "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

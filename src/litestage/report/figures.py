"""PNG figures of a run: accuracy against speed-up, importance, budgets, search profile.

Each `x_figure` returns a matplotlib `Figure`; each `draw_x` writes it. No global state, no display.

    draw_all(Path("checkpoints/miniworld"))       # [.../figures/accuracy_speedup.png, ...]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from litestage.report.schema import read
from litestage.report.style import BLACK, BLUE, GREEN, RED, Label, new_figure, place_labels, save, styles, tidy
from litestage.report.table import span
from litestage.report.words import ballots

FULL = "full depth"
SUBLAYERS = "sub-layer (2j attention, 2j+1 feed-forward)"
DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
"""One dash pattern a stage."""

Document = Mapping[str, Any]
Drawing = Callable[[Document, Path], Path]


def accuracy_figure(results: Document) -> Figure:
    """Accuracy against speed-up of every method; bars are the standard error and the range of the repeats."""
    figure = new_figure(7.5, 5.2)
    axes = figure.subplots()
    tidy(axes)
    axes.margins(0.2, 0.2)
    labels = {}
    looks = styles(method["name"] for method in results["methods"])
    for method in results["methods"]:
        x, y, error = method["speedup"]["median"], 100 * method["accuracy"], 100 * method["accuracy_stderr"]
        low, high = method["speedup"]["low"], method["speedup"]["high"]
        style = looks[method["name"]]
        axes.errorbar(
            [x],
            [y],
            xerr=[[x - low], [high - x]],
            yerr=[error],
            fmt=style.marker,
            color=style.color,
            markeredgecolor="black",
            markersize=9,
            capsize=4,
            label=f"{method['name']} (mean skip: {method['mean_full_layers']:.3g} full layers)",
        )
        labels[method["name"]] = Label(method["name"], x, y, (low, high), (y - error, y + error))
        if method["name"] == FULL:
            axes.axhline(y, color="0.4", linestyle="--", linewidth=1, zorder=0)
            axes.axvline(x, color="0.4", linestyle="--", linewidth=1, zorder=0)
    axes.plot([], [], color="0.4", linestyle="--", linewidth=1, label=f"level of {FULL}")
    asked = f"n = {span(method['n'] for method in results['methods'])} questions, {ballots(results['methods'])}"
    axes.set_title(f"{results['benchmark']}, {results['model']}\n{asked}")
    axes.set_xlabel(f"speed-up over full depth (times; median, low to high of {results['timing']['repeats']} repeats)")
    axes.set_ylabel("accuracy (% of questions; ± standard error)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -4), min(top, 104))
    labels[FULL] = replace(labels[FULL], x_range=axes.get_xlim(), y_range=axes.get_ylim())
    place_labels(figure, axes, list(labels.values()))
    return figure


def importance_figure(importance: Document) -> Figure:
    """Similarity of each sub-layer: the mean over the stages strong, each stage faint."""
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    tidy(axes)
    count = importance["num_sublayers"]
    kinds = ((0, "attention", BLUE, "o"), (1, "feed-forward", RED, "s"))
    for first, kind, color, marker in kinds:
        places = range(first, count, 2)
        for dash, (_, stage) in enumerate(importance["stages"].items()):
            pattern = DASHES[dash % len(DASHES)]
            axes.plot(
                places, stage["similarity"][first::2], color=color, linestyle=pattern, linewidth=1, alpha=0.45, zorder=2
            )
        values = importance["similarity"][first::2]
        label = f"{kind}, mean over stages"
        axes.plot(places, values, color=color, marker=marker, markersize=6, linewidth=2, label=label, zorder=3)
    for dash, (name, stage) in enumerate(importance["stages"].items()):
        label = f"{name} (n = {stage['questions']} questions)"
        axes.plot([], [], color="0.4", linestyle=DASHES[dash % len(DASHES)], linewidth=1.2, label=label)
    axes.set_title(f"Importance of the sub-layers of {importance['model']}: higher is skipped first")
    axes.set_xlabel(SUBLAYERS)
    axes.set_xlim(-0.7, count - 0.3)
    axes.set_ylabel("cosine similarity of input and output")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=20, integer=True, steps=[1, 2, 4, 10]))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def budgets_figure(budgets: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Skipped sub-layers per stage as grouped bars, and their mean; the right axis counts full layers.

    Args:
        budgets: method -> stage -> skipped sub-layers.
        title: title of the figure.
    """
    stages = list(dict.fromkeys(stage for by_stage in budgets.values() for stage in by_stage))
    figure = new_figure(max(6.0, 1.0 + (len(stages) + 1) * (0.5 + 0.42 * len(budgets))), 4.6)
    axes = figure.subplots()
    tidy(axes)
    axes.grid(visible=False, axis="x")
    width, looks = 0.8 / len(budgets), styles(budgets)
    for index, (name, by_stage) in enumerate(budgets.items()):
        style = looks[name]
        heights = [float(by_stage.get(stage, 0)) for stage in stages]
        heights.append(sum(heights) / len(heights))
        places = [group + (index - (len(budgets) - 1) / 2) * width for group in range(len(heights))]
        bars = axes.bar(
            places, heights, 0.92 * width, color=style.color, hatch=style.hatch, edgecolor="black", label=name
        )
        axes.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=8)
    axes.set_xticks(range(len(stages) + 1), [*stages, "mean"])
    axes.axvline(len(stages) - 0.5, color="0.6", linewidth=1)
    axes.set_ylim(0, max(2.0, 1.12 * axes.get_ylim()[1]))
    limit = axes.get_ylim()[1]
    ticks = [
        t for t in np.atleast_1d(MaxNLocator(integer=True, steps=[1, 2, 4, 5, 10]).tick_values(0, limit)) if t <= limit
    ]
    axes.set_yticks(ticks)
    axes.set_xlabel("stage")
    axes.set_ylabel("skipped while decoding (sub-layers)")
    right = axes.secondary_yaxis("right", functions=(_half, _double))
    right.set_yticks([tick / 2 for tick in ticks])
    right.set_ylabel("skipped while decoding (full layers)")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _half(sublayers: ArrayLike) -> ArrayLike:
    return np.asarray(sublayers) / 2


def _double(layers: ArrayLike) -> ArrayLike:
    return np.asarray(layers) * 2


def search_figure(profile: Document) -> Figure:
    """Accuracy and latency against the budget, one column a searched stage; the chosen budget is ringed."""
    stages = list(dict.fromkeys(trial["stage"] for trial in profile["trials"]))
    if not stages:
        raise ValueError("the search profile has no trials; run search.py to the end")
    figure = new_figure(max(6.0, 1.0 + 3.2 * len(stages)), 6.2)
    grid = figure.subplots(2, len(stages), sharex="col", sharey="row", squeeze=False)
    full = profile["full_depth"]
    for column, stage in enumerate(stages):
        shown = [
            t
            for t in profile["trials"]
            if t["stage"] == stage and ((t["exit"] is None and not t["prefill"]) or t["chosen"])
        ]
        trials = sorted(shown, key=lambda trial: trial["budget"])
        above, below = grid[0, column], grid[1, column]
        _profile(above, trials, [100 * trial["accuracy"] for trial in trials], BLUE)
        _profile(
            below, [t for t in trials if not t["stopped"]], [t["latency"] for t in trials if not t["stopped"]], RED
        )
        above.axhline(100 * profile["target"], color=GREEN, linestyle="--", linewidth=1.5, label="accuracy target")
        above.axhline(100 * full["accuracy"], color="0.4", linestyle=":", linewidth=1.5, label=FULL)
        below.axhline(sum(full["latency"].values()), color="0.4", linestyle=":", linewidth=1.5)
        above.set_title(f"{column + 1}. {stage}")
        below.set_xlabel("budget (skipped sub-layers)")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0, 0].set_ylabel("accuracy (% of questions)")
    grid[1, 0].set_ylabel("latency of all stages (s / question)")
    figure.suptitle(f"Search, stage by stage in this order: n = {full['n']} questions")
    handles: dict[str, Artist] = {}
    for axes in grid[0]:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _profile(axes: Axes, trials: list[dict[str, Any]], values: list[float], color: str) -> None:
    """One curve: filled dots reach the target, crosses do not, the ring is the choice."""
    tidy(axes)
    axes.margins(0.08, 0.12)
    budgets = [trial["budget"] for trial in trials]
    whole = [(x, y) for x, y, trial in zip(budgets, values, trials, strict=True) if not trial["stopped"]]
    axes.plot(*zip(*whole, strict=True), color=color, linewidth=1.5)
    groups = (
        ("feasible", "o", color, 6, [trial["feasible"] for trial in trials]),
        ("below the target", "x", color, 7, [not trial["feasible"] and not trial["stopped"] for trial in trials]),
        ("given up (at most)", "v", color, 6, [bool(trial["stopped"]) for trial in trials]),
        ("chosen", "o", BLACK, 14, [trial["chosen"] for trial in trials]),
    )
    for label, marker, shade, size, mask in groups:
        points = [(x, y) for x, y, keep in zip(budgets, values, mask, strict=True) if keep]
        if points:
            fill = "none" if label in ("chosen", "given up (at most)") else shade
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, marker, color=shade, markersize=size, markerfacecolor=fill, markeredgewidth=1.6, label=label
            )


def draw_accuracy(results: Document, path: Path) -> Path:
    """Write `accuracy_figure` of a results document."""
    return save(accuracy_figure(results), path)


def draw_importance(importance: Document, path: Path) -> Path:
    """Write `importance_figure` of an importance document."""
    return save(importance_figure(importance), path)


def draw_budgets(results: Document, path: Path) -> Path:
    """Write `budgets_figure` of a results document, without the methods that never skip."""
    budgets = {m["name"]: m["budgets"] for m in results["methods"] if not m["name"].startswith(FULL)}
    budgets = budgets or {m["name"]: m["budgets"] for m in results["methods"]}
    title = f"Skip budgets: {results['model']} ({results['num_sublayers']} sub-layers), {results['benchmark']}"
    return save(budgets_figure(budgets, title), path)


def draw_plan(plan: Document, path: Path) -> Path:
    """Write `budgets_figure` of a plan document alone."""
    budgets = {"litestage": {name: len(stage["skip"]) for name, stage in plan["stages"].items()}}
    return save(budgets_figure(budgets, f"Skip budgets: {plan['model']} ({plan['num_sublayers']} sub-layers)"), path)


def draw_search(profile: Document, path: Path) -> Path:
    """Write `search_figure` of a search document."""
    return save(search_figure(profile), path)


def draw_all(folder: Path, unread: Callable[[str], object] | None = None) -> list[Path]:
    """Draw what a run's folder holds into `figures/`; a figure without its input file is left out.

    The budgets come from `results.json`, or from `plan/plan.json` as long as there are no results.

    Args:
        folder: the run's folder.
        unread: is told of each figure whose file cannot be read (an older version, say), which is then left out too.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an input file is malformed (names the file), and there is no `unread`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; run train.py to make one")
    jobs: list[tuple[str, str, Drawing, str]] = [
        ("results.json", "results", draw_accuracy, "accuracy_speedup.png"),
        ("importance.json", "importance", draw_importance, "importance.png"),
        ("results.json", "results", draw_budgets, "budgets.png"),
        ("search.json", "search", draw_search, "search.png"),
    ]
    if not (folder / "results.json").is_file():
        jobs.append(("plan/plan.json", "plan", draw_plan, "budgets.png"))
    drawn = []
    for source, name, draw, target in jobs:
        path = folder / source
        if path.is_file():
            try:
                drawn.append(draw(read(path, name), folder / "figures" / target))
            except ValueError as error:
                said = str(error) if str(path) in str(error) else f"{path}: {error}"
                if unread is None:
                    raise ValueError(said) from error
                unread(f"no {target}: {said}")
    return drawn

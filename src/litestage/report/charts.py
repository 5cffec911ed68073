"""Interactive figures of the page: accuracy and speed, skipped sub-layers, bars by stage, importance.

    accuracy_chart({"miniworld": results}).spec["data"]     # plotly traces as plain JSON

Each returns a `Chart`; `trials_chart.py` draws the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from litestage.report.canvas import DASHES, MUTED, Chart, bar, marker, new_chart, spec
from litestage.report.style import BLUE, RED, Style, styles
from litestage.report.table import span
from litestage.report.words import FULL, ballot, is_control, rated, speed

Document = Mapping[str, Any]

BLOCKS = "Block j holds sub-layers 2j (attention) and 2j + 1 (feed-forward)."


def accuracy_chart(runs: Mapping[str, Document]) -> Chart:
    """Accuracy against speed-up of every method of one run or two."""
    figure = new_chart("speed-up over full depth (times)", "accuracy (% of questions)")
    told = []
    for number, (run, results) in enumerate(runs.items()):
        prefix = f"{run}: " if len(runs) > 1 else ""
        looks = styles(method["name"] for method in results["methods"])
        for method in results["methods"]:
            figure.add_trace(_accuracy_trace(method, looks[method["name"]], prefix, number))
            told.append(f"{prefix}{method['name']} {speed(method['speedup'])} times, {rated(method)}")
            if method["name"] == FULL:
                line = {"color": MUTED, "dash": DASHES[number], "width": 1}
                figure.add_hline(100 * method["accuracy"], line=line, layer="below")
    figure.add_vline(1.0, line={"color": MUTED, "dash": DASHES[0], "width": 1}, layer="below")
    label = f"Scatter plot of {'; '.join(told)}."
    return Chart("accuracy", "Accuracy and speed", _accuracy_caption(runs), label, spec(figure), 480)


def _accuracy_caption(runs: Mapping[str, Document]) -> str:
    parts = []
    for run, results in runs.items():
        n, attempts = span(m["n"] for m in results["methods"]), max(m["attempts"] for m in results["methods"])
        timing = results["timing"]
        parts.append(
            f"{run}: n = {n} test questions, {ballot(attempts)}; timed: {timing['questions']} questions, "
            f"{timing['repeats']} paired repeats."
        )
    parts.append("Upright bars: standard error. Level bars: lowest and highest repeat. Thin lines: full depth.")
    if len(runs) > 1:
        parts.append("Filled marks: {}; hollow marks: {}.".format(*runs))
    return " ".join(parts)


def _accuracy_trace(method: Document, style: Style, prefix: str, number: int) -> go.Scatter:
    factor, error = method["speedup"], 100 * method["accuracy_stderr"]
    low, high = factor["median"] - factor["low"], factor["high"] - factor["median"]
    bars = {"color": style.color, "thickness": 1.6, "width": 5}
    layers = f"{method['mean_full_layers']:.3g} full layers skipped (mean)"
    return go.Scatter(
        x=[factor["median"]],
        y=[100 * method["accuracy"]],
        error_x={"array": [high], "arrayminus": [low], "symmetric": False, **bars},
        error_y={"array": [error], **bars},
        mode="markers",
        marker=marker(style, 13, hollow=bool(number)),
        name=escape(prefix + method["name"]),
        hovertemplate=f"{rated(method)}<br>{speed(factor)} times as fast<br>{layers}",
    )


def skips_chart(plan: Document) -> Chart:
    """Which sub-layers each stage skips, as a map; where a skip set grows, what it skips in the end."""
    stages, count = plan["stages"], plan["num_sublayers"]
    skipped = {name: set((stage.get("later") or [stage])[-1]["skip"]) for name, stage in stages.items()}
    places = [(j, name) for name in stages for j in range(count)]
    groups = (
        ("kept", [(j, s) for j, s in places if j not in skipped[s]], "circle", MUTED, 4),
        ("attention, skipped", [(j, s) for j, s in places if j in skipped[s] and not j % 2], "circle", BLUE, 13),
        ("feed-forward, skipped", [(j, s) for j, s in places if j in skipped[s] and j % 2], "square", RED, 12),
    )
    figure = new_chart("sub-layer", "stage")
    for name, found, symbol, color, size in groups:
        figure.add_scatter(
            x=[j for j, _ in found],
            y=[escape(stage) for _, stage in found],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "color": color, "size": size},
            hovertemplate=f"sub-layer %{{x}}, {name}<extra>%{{y}}</extra>",
        )
    lines = [escape(name) for name in reversed(stages)]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=lines, showgrid=False, range=[-0.5, len(lines) - 0.5]
    )
    figure.update_xaxes(range=[-0.7, count - 0.3], showgrid=False)
    told = "; ".join(f"{name}: {', '.join(map(str, sorted(skip))) or 'none'}" for name, skip in skipped.items())
    caption = f"The {count} sub-layers in each stage; large marks are skipped while decoding. {BLOCKS}"
    title, height = "What each stage skips", 170 + 42 * len(stages)
    label = f"Map of skipped sub-layers. {told}."
    return Chart("skips", title, caption, label, spec(figure), height, width=100 + 13 * count)


def budgets_chart(results: Document) -> Chart:
    """Skipped sub-layers per stage, one bar a method."""
    caption = (
        f"Of {results['num_sublayers']} sub-layers; two make a full layer. Where a method skips more with every step, "
        "the most it skips. Full depth skips none."
    )
    methods = {m["name"]: m["budgets"] for m in results["methods"] if not m["name"].startswith(FULL)}
    figure, label, width = _bars(methods, "skipped sub-layers (2 = 1 full layer)", "{:.3g}")
    return Chart("budgets", "Budgets per stage", caption, label, figure, width=width)


def tokens_chart(results: Document) -> Chart:
    """Generated tokens per stage, one bar a method."""
    caption = (
        f"Generated tokens of one greedy pass, all options of a stage added up; mean over n = "
        f"{span(m['n'] for m in results['methods'])} test questions."
    )
    methods = {m["name"]: m["tokens_per_question"] for m in results["methods"] if not is_control(m["name"])}
    figure, label, width = _bars(methods, "tokens / question", "{:.0f}")
    return Chart("tokens", "Tokens per stage", caption, label, figure, width=width)


def _bars(methods: Mapping[str, Mapping[str, float]], title: str, number: str) -> tuple[dict[str, Any], str, int]:
    """Grouped bars, one group a stage and one bar a method; what a screen reader says; the pixels it needs.

    Args:
        methods: method -> stage -> value.
        title: title of the upright axis, with its unit.
        number: format of the number above a bar.
    """
    figure, told, looks = new_chart("stage", title), [], styles(methods)
    for name, values in methods.items():
        labels = [number.format(value) for value in values.values()]
        figure.add_bar(
            x=[escape(stage) for stage in values],
            y=list(values.values()),
            name=escape(name),
            text=labels,
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            marker=bar(looks[name]),
            hovertemplate="%{x}: %{y:.4g}",
        )
        told.append(f"{name}: " + ", ".join(f"{s} {v}" for s, v in zip(values, labels, strict=True)))
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.08)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    width = 70 + 24 * sum(len(values) for values in methods.values())
    return spec(figure), f"Bars of {title}. {'; '.join(told)}.", width


def importance_chart(importance: Document, ranking: str | None = None) -> Chart:
    """Similarity of each sub-layer: the mean over the stages strong, each stage faint.

    Args:
        importance: content of `importance.json`.
        ranking: what the search ranked by, where that is known.
    """
    figure = new_chart("sub-layer", "cosine similarity of input and output")
    count, order = importance["num_sublayers"], importance["order"]
    for first, kind, color, symbol in ((0, "attention", BLUE, "circle"), (1, "feed-forward", RED, "square")):
        places = list(range(first, count, 2))
        for number, (name, stage) in enumerate(importance["stages"].items()):
            figure.add_scatter(
                x=places,
                y=stage["similarity"][first::2],
                mode="lines",
                line={"color": color, "dash": DASHES[number % len(DASHES)], "width": 1.2},
                opacity=0.6,
                legendgroup=name,
                showlegend=False,
                hovertemplate=f"sub-layer %{{x}}, {kind}, {escape(name)}: %{{y:.4f}}<extra></extra>",
            )
        figure.add_scatter(
            x=places,
            y=importance["similarity"][first::2],
            mode="lines+markers",
            name=f"{kind}, mean over stages",
            line={"color": color, "width": 2},
            marker={"symbol": symbol, "size": 8},
            hovertemplate=f"sub-layer %{{x}}, {kind}: %{{y:.4f}}<extra></extra>",
        )
    for number, (name, stage) in enumerate(importance["stages"].items()):  # what the legend shows of the faint lines
        line = {"color": MUTED, "dash": DASHES[number % len(DASHES)], "width": 1.5}
        label = f"{escape(name)} (n = {stage['questions']})"
        figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name=label, legendgroup=name)
    figure.update_xaxes(range=[-0.7, count - 0.3])
    caption = (
        "Measured while prompts are read, on n validation questions. High: changes little, is skipped first. " + BLOCKS
    )
    if ranking not in (None, "cosine"):
        caption += f" This run's search ranked by something else: search.ranking is {ranking}."
    label = f"Lines. Most similar first: {', '.join(map(str, order[:8]))}; least similar: {order[-1]}."
    return Chart("importance", "Importance of the sub-layers", caption, label, spec(figure), 450)

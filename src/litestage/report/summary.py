"""What a run found, in sentences and in the rows of the page's tables.

    " ".join(answer(results, plan))       # "On 400 test questions of miniworld, the plan answers 93.2 ± 1.3 % ..."

Rows are lists of texts that are ready to be shown; the page's template adds the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestage.report.words import (
    FULL,
    GIVEN_UP,
    PLAN,
    PLAN_WITHOUT_EXIT,
    accuracy,
    ballot,
    percent,
    points,
    rated,
    speed,
)

Document = Mapping[str, Any]


def answer(results: Document, plan: Document | None) -> list[str]:
    """The finding in a few sentences: accuracy, speed beside its control, early exit, the change on validation."""
    methods = {method["name"]: method for method in results["methods"]}
    full, own = methods[FULL], methods.get(PLAN) or methods.get(PLAN_WITHOUT_EXIT)
    if own is None:
        names = ", ".join(name for name in methods if not name.startswith(FULL)) or "nothing else"
        return [f"This run compared full depth with {names}; the plan was not among the methods (evaluate.methods)."]
    change = points(own["accuracy"] - full["accuracy"])
    said = [
        f"On {own['n']} test questions of {results['benchmark']}, the plan answers {rated(own)} right and full "
        f"depth {rated(full)} ({change} points; {ballot(own['attempts'])}).",
        f"The plan is {speed(own['speedup'])} times as fast as full depth, {_beside(own, results, methods)}.",
    ]
    cut = methods.get(PLAN_WITHOUT_EXIT)
    if own["name"] == PLAN and own["exit"] and cut:
        said.append(
            f"Without its early exit it is {speed(cut['speedup'])} times as fast and answers {rated(cut)} right."
        )
    sure = _interval(plan, "accuracy_change")
    if sure:
        value, low, high = (points(number) for number in sure[:3])
        said.append(f"On the validation questions accuracy changes by {value} points [{low}, {high}].")
    return said


def _beside(own: Document, results: Document, methods: Mapping[str, Document]) -> str:
    """How the plan's speed-up compares with that of full depth against itself."""
    name = results["timing"]["control"]
    if name is None:
        return "and no control was timed that would show the noise of the clock"
    mine, control = own["speedup"], methods[name]["speedup"]
    told = f"full depth timed against itself gives {speed(control)}"
    if mine["low"] > control["high"]:
        return f"which is more than the noise of the clock: {told}"
    if mine["high"] < control["low"]:
        return f"which is slower, beyond the noise of the clock: {told}"
    return f"which is within the noise of the clock: {told}"


def change_rows(results: Document, plan: Document | None) -> list[list[str]]:
    """The plan against full depth, a row each: what, value, low and high, on what. Empty where no plan was run."""
    methods = {method["name"]: method for method in results["methods"]}
    full, own = methods[FULL], methods.get(PLAN) or methods.get(PLAN_WITHOUT_EXIT)
    if own is None:
        return []
    sure = _interval(plan, "accuracy_change")
    searched = [points(value) for value in sure[:3]] if sure else ["not known", "", ""]
    rows = [
        ["accuracy change on validation, points", searched[0], _range(*searched[1:]), sure[3] if sure else ""],
        [
            "accuracy change on test, points",
            points(own["accuracy"] - full["accuracy"]),
            f"{rated(full)} to {rated(own)}",
            f"standard errors, n = {own['n']}",
        ],
    ]
    predicted = _interval(plan, "speedup")
    if predicted:
        value, low, high = (f"{number:.2f}" for number in predicted[:3])
        rows.append(["speed-up that the costs predicted", value, _range(low, high), predicted[3]])
    timing = results["timing"]
    repeats = f"lowest and highest of {timing['repeats']} paired repeats, {timing['questions']} questions"
    timed = {"speed-up, measured": own, "control: full depth against itself": methods.get(timing["control"])}
    for what, method in timed.items():
        if method is not None:
            value, low, high = (f"{method['speedup'][key]:.2f}" for key in ("median", "low", "high"))
            rows.append([what, value, _range(low, high), repeats])
    return rows


def _range(low: str, high: str) -> str:
    return f"[{low}, {high}]" if low else ""


def _interval(plan: Document | None, name: str) -> tuple[float, float, float, str] | None:
    """Value, low, high and how sure, as the search noted them in the plan; `None` where it did not."""
    sure: Any = plan["provenance"].get("confidence") if plan else None
    try:
        value, low, high = (float(sure[name][key]) for key in ("value", "low", "high"))
        return value, low, high, f"{100 * sure['level']:g} % interval, n = {sure['n']}, the questions searched on"
    except (KeyError, TypeError, ValueError):
        return None


def stage_rows(results: Document, plan: Document | None) -> list[list[str]]:
    """One row a stage: skipped sub-layers, full layers, which, while, exit rule, tokens at full depth and in the plan.

    Without a plan at hand the budgets are those of the results, and the rest is not known.
    """
    methods = {method["name"]: method for method in results["methods"]}
    own = methods.get(PLAN) or methods.get(PLAN_WITHOUT_EXIT)
    rows = []
    for name, before in methods[FULL]["tokens_per_question"].items():
        stage = plan["stages"].get(name) if plan else None
        if stage is None and own is None:
            continue
        budget = len(_most(stage)) if stage is not None else own["budgets"][name] if own else 0
        after = f"{own['tokens_per_question'][name]:.1f}" if own else "not run"
        rows.append([name, str(budget), f"{budget / 2:g}", *_how(stage), f"{before:.1f}", after])
    return rows


def _most(stage: Document) -> list[int]:
    """What a stage skips in the end."""
    return (stage.get("later") or [stage])[-1]["skip"]


def _how(stage: Document | None) -> list[str]:
    """Which sub-layers, while what, and the exit rule."""
    if stage is None:
        return ["not known"] * 3
    which = ", ".join(map(str, _most(stage))) or "none"
    if stage.get("later"):
        which += f" (grows until step {stage['later'][-1]['step']})"
    if stage.get("scale"):
        which += ", scaled"
    when = "prefill and decode" if stage.get("prefill") else "decode"
    rule = stage["exit"]
    ends = f"mean of {rule['window']} tokens below {rule['threshold']:g}" if rule else "none"
    return [which, when if _most(stage) else "", ends]


def method_rows(results: Document) -> list[list[str]]:
    """One row a method: name, accuracy, n, single pass, unparsed, speed-up, seconds, tokens, budgets, full layers."""
    return [
        [
            method["name"],
            accuracy(method),
            str(method["n"]),
            percent(method["single_pass_accuracy"]),
            percent(method["unparsed_rate"]),
            speed(method["speedup"]),
            f"{method['seconds_per_question']:.3g}",
            f"{sum(method['tokens_per_question'].values()):.1f}",
            skipped(method),
            f"{method['mean_full_layers']:.2f}",
        ]
        for method in results["methods"]
    ]


def skipped(method: Document) -> str:
    """The budgets, and what a decode step really skips on average where that is something else."""
    budgets = method["budgets"]
    really = method.get("skipped_sublayers", budgets)
    said = " / ".join(map(str, budgets.values()))
    if any(abs(really[stage] - budget) > 0.05 for stage, budget in budgets.items()):
        said += f" (mean step: {' / '.join(f'{really[stage]:.1f}' for stage in budgets)})"
    return said


def trial_rows(search: Document) -> list[list[str]]:
    """One row a trial, in order: stage, budget in both units, tried with, accuracy, latency, answered, what became."""
    n = search["full_depth"]["n"]
    rows = []
    for trial in search["trials"]:
        extra = [] if trial["exit"] is None else [f"exit below {trial['exit']:.2f}"]
        extra += ["prefill"] if trial["prefill"] else []
        rows.append(
            [
                trial["stage"],
                str(trial["budget"]),
                f"{trial['budget'] / 2:g}",
                ", ".join(extra),
                f"{'at most ' if trial['stopped'] else ''}{percent(trial['accuracy'])}",
                "" if trial["latency"] is None else f"{trial['latency']:.4g}",
                f"{trial['answered']} of {n}",
                _fate(trial),
            ]
        )
    return rows


def _fate(trial: Document) -> str:
    if trial["chosen"]:
        return "chosen"
    if trial["stopped"]:
        return f"given up: {GIVEN_UP[trial['stopped']]}"
    return "reaches the target" if trial["feasible"] else "below the target"

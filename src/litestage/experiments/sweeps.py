"""Accuracy and work of plans over a sweep: of budgets (motivation), with and without early exit, of exit thresholds.

motivation(bench).rows[0]["accuracy_percent"]
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from litestage.experiments.bench import Bench, Measured
from litestage.experiments.paper import MEASURED, PUBLISHED, SOURCE
from litestage.experiments.result import Panel, Result
from litestage.metrics import score
from litestage.plan import ExitRule, Plan
from litestage.search.policies import staged_plan
from litestage.search.stagewise import exiting

THRESHOLDS = (None, 0.3, 0.5, 0.7)
"""Exit thresholds that are compared; `None` is no exit."""

ACCURACY = {
    "accuracy_percent": "accuracy (% of questions)",
    "accuracy_stderr": "standard error of the accuracy (points)",
}
TIMED = {
    **ACCURACY,
    "unparsed_percent": "attempts without an answer (%)",
    "seconds_per_question": "time (s / question)",
    "seconds_low": "fastest repeat (s / question)",
    "seconds_high": "slowest repeat (s / question)",
    "speedup": "speed-up over full depth (times)",
    "speedup_low": "least speed-up of the repeats (times)",
    "speedup_high": "greatest speed-up of the repeats (times)",
    "tokens_per_question": "generated tokens / question",
}
WORK = {
    "decode_steps_per_question": "decode steps / question",
    "cut_percent": "outputs that exit cut (%)",
    **ACCURACY,
    "unparsed_percent": "questions without an answer (%)",
}
LAYERS = "skipped full layers (mean over stages)"


def uniform(bench: Bench, budget: int, stages: Collection[str]) -> Plan:
    """The `budget` sub-layers of highest cosine similarity, skipped in some stages."""
    names = bench.engine.stage_names
    orders = dict.fromkeys(names, bench.importance.order)
    counts = {name: budget if name in stages else 0 for name in names}
    return staged_plan(bench.engine.name, bench.engine.decoder.num_sublayers, orders, counts)


def timed_row(measured: Measured) -> dict[str, float]:
    """The columns of `TIMED`."""
    mark = measured.score
    return {
        "accuracy_percent": 100 * mark.accuracy,
        "accuracy_stderr": 100 * mark.stderr,
        "unparsed_percent": 100 * mark.unparsed_rate,
        "seconds_per_question": measured.seconds["median"],
        "seconds_low": measured.seconds["low"],
        "seconds_high": measured.seconds["high"],
        "speedup": measured.speedup["median"],
        "speedup_low": measured.speedup["low"],
        "speedup_high": measured.speedup["high"],
        "tokens_per_question": measured.tokens,
    }


def control_note(bench: Bench) -> str:
    """How far the clock can be trusted."""
    low, high = min(c["low"] for c in bench.controls), max(c["high"] for c in bench.controls)
    return (
        f"Greedy passes are timed in turns, batch by batch; full depth timed against itself gives {low:.2f} to "
        f"{high:.2f} times."
    )


def motivation(bench: Bench) -> Result:
    """Fig. 2 and 10: does every stage take skipping alike?"""
    stages = bench.engine.stage_names
    ways = {"all stages": stages, **{f"{name} alone": [name] for name in stages}}
    plans = {(way, budget): uniform(bench, budget, which) for way, which in ways.items() for budget in bench.budgets}
    rows = [
        {"skipped_in": way, "budget_sublayers": budget, **timed_row(measured)}
        for (way, budget), measured in zip(plans, bench.measure(list(plans.values())), strict=True)
    ]
    of: dict[str, Any] = {"kind": "lines", "x": "budget_sublayers", "by": "skipped_in"}
    panels = [
        Panel(y="accuracy_percent", error=("accuracy_stderr",), title="Accuracy", **of),
        Panel(y="seconds_per_question", error=("seconds_low", "seconds_high"), title="Time", **of),
    ]
    return Result(
        "motivation",
        "One budget in all stages, and in one stage alone",
        "Do the stages take skipping alike, and does skipping more save time?",
        {"skipped_in": "skipped in", "budget_sublayers": "budget (skipped sub-layers)", **TIMED},
        rows,
        panels,
        len(bench.test),
        attempts=bench.settings.evaluate.attempts,
        repeats=bench.settings.evaluate.repeats,
        notes=["Skipped in the order of the cosine similarity, averaged over the stages.", control_note(bench)],
    )


def exit_saving(bench: Bench) -> Result:
    """Fig. 6: what does early exit save, and what does it cost?"""
    settings = bench.settings.search
    rule = ExitRule(settings.exit_window, settings.exit_threshold or 0.5)
    sweep = [("uniform", uniform(bench, budget, bench.engine.stage_names)) for budget in bench.budgets]
    rows: list[dict[str, Any]] = []
    for name, plan in [*sweep, ("plan", bench.plan.without_exit())]:
        without, cut = work_row(bench, plan), work_row(bench, with_exit(bench, plan, rule))
        before, after = without["decode_steps_per_question"], cut["decode_steps_per_question"]
        same = {"source": MEASURED, "budget_full_layers": plan.mean_full_layers}
        saved = 100 * (1 - after / before) if before else 0.0
        rows.append({**same, "plan": f"{name} without exit", **without, "saved_steps_percent": None})
        rows.append({**same, "plan": f"{name} with exit", **cut, "saved_steps_percent": saved})
    published = PUBLISHED.get(bench.settings.data.benchmark)
    blank = dict.fromkeys(WORK)
    rows += [
        {"source": SOURCE, "plan": SOURCE, "budget_full_layers": x, **blank, "saved_steps_percent": y}
        for x, y in (published.exit_saves if published else ())
    ]
    of: dict[str, Any] = {"kind": "lines", "x": "budget_full_layers", "by": "plan"}
    panels = [
        Panel(y="decode_steps_per_question", title="Decode steps", where={"source": MEASURED}, **of),
        Panel(y="accuracy_percent", error=("accuracy_stderr",), title="Accuracy", where={"source": MEASURED}, **of),
        Panel(y="saved_steps_percent", title="Saved by exit", **of),
    ]
    return Result(
        "exit",
        "Decode steps and accuracy with and without early exit",
        "What does early exit save as more is skipped, and what does it cost?",
        {
            "source": "source",
            "plan": "plan",
            "budget_full_layers": LAYERS,
            **WORK,
            "saved_steps_percent": "decode steps saved by exit (%)",
        },
        rows,
        panels,
        len(bench.test),
        notes=[
            f"Exit: mean confidence of {rule.window} tokens below {rule.threshold:g}, in "
            f"{', '.join(exiting(bench.engine.stage_names, settings))}.",
            "Greedy passes. A decode step is one token after an output's first, which prefill gives.",
        ],
    )


def thresholds(bench: Bench) -> Result:
    """Which exit threshold is worth its price?"""
    window = bench.settings.search.exit_window
    rows: list[dict[str, Any]] = []
    for name, plan in (("full depth", bench.engine.full_depth()), ("litestage", bench.plan.without_exit())):
        for level in THRESHOLDS:
            exits = plan if level is None else with_exit(bench, plan, ExitRule(window, level))
            said = "off" if level is None else f"{level:g}"
            rows.append({"plan": name, "threshold": said, **work_row(bench, exits)})
    of: dict[str, Any] = {"kind": "bars", "x": "threshold", "by": "plan"}
    panels = [
        Panel(y="decode_steps_per_question", title="Decode steps", **of),
        Panel(y="accuracy_percent", error=("accuracy_stderr",), title="Accuracy", **of),
        Panel(y="cut_percent", title="Cut outputs", **of),
    ]
    return Result(
        "thresholds",
        "Early exit at several thresholds",
        "How sure must a stage stay, so that stopping it saves steps and costs no answers?",
        {"plan": "plan", "threshold": "exit threshold (mean confidence)", **WORK},
        rows,
        panels,
        len(bench.test),
        notes=[
            f"The mean confidence of {window} tokens is compared with the threshold, in "
            f"{', '.join(exiting(bench.engine.stage_names, bench.settings.search))}. Greedy passes.",
        ],
    )


def with_exit(bench: Bench, plan: Plan, rule: ExitRule) -> Plan:
    """The plan with an exit rule in the stages that may exit."""
    names = exiting(bench.engine.stage_names, bench.settings.search)
    stages = {name: replace(stage, exit=rule if name in names else None) for name, stage in plan.stages.items()}
    return replace(plan, stages=stages)


def work_row(bench: Bench, plan: Plan) -> Mapping[str, float]:
    """The columns of `WORK`, of greedy passes over the test questions."""
    attempts = bench.answers(plan, bench.test)
    outputs = [output for attempt in attempts for output in attempt.outputs]
    mark = score(bench.test, attempts)
    return {
        "decode_steps_per_question": sum(max(0, output.tokens - 1) for output in outputs) / len(attempts),
        "cut_percent": _percent(output.stop == "confidence" for output in outputs),
        "accuracy_percent": 100 * mark.accuracy,
        "accuracy_stderr": 100 * mark.stderr,
        "unparsed_percent": 100 * mark.unparsed_rate,
    }


def _percent(marks: Iterable[bool]) -> float:
    kept = list(marks)
    return 100 * sum(kept) / len(kept)

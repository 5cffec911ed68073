"""Accuracy against speed-up: LiteStage's plans at several eps, every other method over a sweep of budgets.

A method's sweep ends when its speed-up has not risen for `PATIENCE` budgets: it is saturated. Each budget is one
session of timings, in which all methods that are left take turns with full depth and its control.

    frontier(bench).rows[-1]["speedup"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestage.config.judging import PEERS
from litestage.experiments.bench import Bench, Measured
from litestage.experiments.paper import MEASURED, PUBLISHED, SOURCE
from litestage.experiments.result import Panel, Result
from litestage.experiments.searched import EPS, affordable
from litestage.experiments.sweeps import LAYERS, TIMED, control_note, timed_row
from litestage.plan import Plan
from litestage.report.words import FULL
from litestage.search.policies import Policy, peer, skipped_sublayers

PATIENCE = 2
"""Budgets without a new best speed-up after which a sweep ends."""


def frontier(bench: Bench) -> Result:
    """Fig. 5 and Table 1: which method loses least accuracy for its speed?"""
    found = [(eps, bench.found(eps).plan) for eps in affordable(bench, EPS)]
    measured = bench.measure([bench.engine.full_depth(), *(plan for _, plan in found)])
    rows = [_row(bench, FULL, None, measured[0])]
    rows += [_row(bench, "litestage", eps, m) for (eps, _), m in zip(found, measured[1:], strict=True)]
    policies, notes = _policies(bench)
    for policy, points in _sweeps(bench, policies).items():
        rows += [_row(bench, policy, None, point) for point in points]
    of: dict[str, Any] = {"kind": "lines", "x": "speedup", "y": "accuracy_percent", "by": "method"}
    error: dict[str, Any] = {"error": ("accuracy_stderr",), "x_error": ("speedup_low", "speedup_high")}
    panels = [Panel(title="Measured here", where={"source": MEASURED}, **error, **of)]
    published = _published(bench)
    if published:
        panels.append(Panel(title=SOURCE[0].upper() + SOURCE[1:], where={"source": SOURCE}, **of))
    return Result(
        "frontier",
        "Accuracy against speed-up of all methods",
        "Which method loses least accuracy for its speed?",
        {
            "source": "source",
            "method": "method",
            "eps_percent": "accuracy the search may lose (points)",
            "budget_full_layers": LAYERS,
            "skipped_sublayers": "sub-layers a step really skips (mean over stages and steps)",
            **TIMED,
        },
        [*rows, *published],
        panels,
        len(bench.test),
        attempts=bench.settings.evaluate.attempts,
        repeats=bench.settings.evaluate.repeats,
        notes=[
            "LiteStage: one point an eps. The others: one point a budget, until the speed-up saturates.",
            control_note(bench),
            *notes,
        ],
    )


def _policies(bench: Bench) -> tuple[list[Policy], list[str]]:
    """The methods that this run's importance allows, and what is said of the others."""
    made, notes = [], []
    for name in PEERS:
        try:
            made.append(peer(name, bench.engine, bench.importance, bench.settings.seed))
        except ValueError as error:  # an importance.json from before norm ratios and blocks were measured
            notes.append(f"Without {name}: {error}.")
    return made, notes


def _sweeps(bench: Bench, policies: Sequence[Policy]) -> dict[str, list[Measured]]:
    """Method -> what was measured at rising budgets, until its speed-up saturates."""
    points: dict[str, list[Measured]] = {policy.name: [] for policy in policies}
    live = list(policies)
    for budget in bench.budgets[1:]:
        plans = [policy.plan(budget) for policy in live]
        for policy, measured in zip(live, bench.measure(plans), strict=True):
            seen = points[policy.name]
            if not seen or seen[-1].plan.stages != measured.plan.stages:  # a block holds two sub-layers
                seen.append(measured)
        live = [policy for policy in live if not saturated([m.speedup["median"] for m in points[policy.name]])]
        if not live:
            break
    return points


def saturated(speedups: Sequence[float]) -> bool:
    """Whether the last `PATIENCE` of the speed-ups are not above what came before."""
    before, last = speedups[:-PATIENCE], speedups[-PATIENCE:]
    return bool(before) and max(last) <= max(before)


def _row(bench: Bench, method: str, eps: float | None, measured: Measured) -> dict[str, Any]:
    really = _really(bench, measured.plan)
    return {
        "source": MEASURED,
        "method": method,
        "eps_percent": None if eps is None else 100 * eps,
        "budget_full_layers": measured.plan.mean_full_layers,
        "skipped_sublayers": really,
        **timed_row(measured),
    }


def _really(bench: Bench, plan: Plan) -> float:
    skipped = skipped_sublayers(bench.engine, plan)
    return sum(skipped.values()) / len(skipped)


def _published(bench: Bench) -> list[dict[str, Any]]:
    """The paper's points on this benchmark."""
    found = PUBLISHED.get(bench.settings.data.benchmark)
    if found is None:
        return []
    blank: dict[str, Any] = {"eps_percent": None, "skipped_sublayers": None, **dict.fromkeys(TIMED)}
    points = {FULL: [(0.0, found.full_depth, 1.0)], **found.frontier}
    return [
        {**blank, "source": SOURCE, "method": name, "budget_full_layers": x, "accuracy_percent": y, "speedup": times}
        for name, of in points.items()
        for x, y, times in of
    ]

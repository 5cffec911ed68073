"""LiteStage's search (step 2): stage by stage, slowest first, the fastest budget that keeps the accuracy.

found = search(objective, importance, settings)
found.plan.budgets       # {"recall": 4, "analyze": 2, "summarize": 6}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from litestage.config import SearchSettings
from litestage.model.importance import Importance
from litestage.plan import ExitRule, Plan
from litestage.search.objective import Objective, Trial
from litestage.search.policies import staged_plan

FORMAT, VERSION = "litestage-search", 1


@dataclass(frozen=True)
class Tried:
    """A trial of one stage's budget; `chosen` marks the one the search went on with."""

    stage: str
    budget: int
    trial: Trial
    feasible: bool
    chosen: bool


@dataclass(frozen=True)
class Found:
    """The plan and how it was found."""

    plan: Plan
    full_depth: Trial
    target: float
    tried: Sequence[Tried]
    final: Trial
    """The plan as saved, its early exit included."""
    exit_kept: bool
    """Whether the early exit stayed: it goes when it would break the target on the search's questions."""


def budgets(num_sublayers: int, settings: SearchSettings) -> range:
    """Budgets the search tries, in sub-layers."""
    top = num_sublayers if settings.max_budget is None else min(settings.max_budget, num_sublayers)
    return range(0, top + 1, settings.step)


def search(
    objective: Objective,
    importance: Importance,
    settings: SearchSettings,
    report: Callable[[Tried], None] | None = None,
) -> Found:
    """Find the budget of every stage.

    Full depth gives accuracy A0 and a latency per stage; the target A0 - eps holds throughout. In order of falling
    latency each stage tries all budgets with the stages before it at their chosen ones and the rest at full depth.
    Of the budgets that reach the target the one of least end-to-end latency is taken, the smaller one on a tie.

    Args:
        objective: scores plans.
        importance: ranks the sub-layers; of the same model.
        settings: eps, step, exit rule.
        report: told of every trial of a stage once the stage is decided.

    Raises:
        ValueError: the importance is of another model.
    """
    engine = objective.engine
    if (importance.model, len(importance.order)) != (engine.name, engine.decoder.num_sublayers):
        raise ValueError(
            f"the importance was measured on {importance.model} ({len(importance.order)} sub-layers) but the model "
            f"is {engine.name} ({engine.decoder.num_sublayers}); run train.py again"
        )
    exits = _exits(engine.stage_names, settings)  # a bad rule is refused before anything is tried
    full = objective(engine.full_depth())
    target = full.accuracy - settings.eps
    chosen = dict.fromkeys(engine.stage_names, 0)
    tried: list[Tried] = []
    for stage in sorted(engine.stage_names, key=lambda name: -full.latency[name]):
        trials = {
            b: objective(staged_plan(importance, {**chosen, stage: b}))
            for b in budgets(len(importance.order), settings)
        }
        # Accuracies are counts over n: compare them as such, or 0.47 would miss 0.52 - 0.05.
        reached = [b for b, t in trials.items() if round((t.accuracy - target) * t.n, 6) >= 0]
        chosen[stage] = min(reached, key=lambda b: (trials[b].seconds, b), default=0)
        for b, trial in trials.items():
            tried.append(Tried(stage, b, trial, b in reached, b == chosen[stage]))
            if report:
                report(tried[-1])
    plain = objective(staged_plan(importance, chosen))
    with_exit = objective(staged_plan(importance, chosen, exits))
    keep = bool(exits) and round((with_exit.accuracy - target) * with_exit.n, 6) >= 0
    final = with_exit if keep else plain
    return Found(final.plan, full, target, tried, final, keep)


def profile(found: Found, cost: dict[str, Any] | None) -> dict[str, Any]:
    """The content of `search.json`: every trial, the target, the calibrated costs (none if seconds were measured)."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "target": found.target,
        "full_depth": _numbers(found.full_depth),
        "final": _numbers(found.final),
        "exit_kept": found.exit_kept,
        "trials": [
            {
                "stage": t.stage,
                "budget": t.budget,
                "budgets": t.trial.plan.budgets,
                "accuracy": t.trial.accuracy,
                "latency": t.trial.seconds,
                "measured_seconds": sum(t.trial.measured.values()),
                "tokens": dict(t.trial.tokens),
                "feasible": t.feasible,
                "chosen": t.chosen,
            }
            for t in found.tried
        ],
        "cost_model": cost or {},
    }


def _numbers(trial: Trial) -> dict[str, Any]:
    return {"accuracy": trial.accuracy, "latency": dict(trial.latency), "tokens": dict(trial.tokens), "n": trial.n}


def _exits(stages: Sequence[str], settings: SearchSettings) -> dict[str, ExitRule]:
    """Exit rules: all stages but the last unless the settings name some."""
    if settings.exit_threshold is None:
        return {}
    names = stages[:-1] if settings.exit_stages is None else settings.exit_stages
    return {name: ExitRule(settings.exit_window, settings.exit_threshold) for name in names}

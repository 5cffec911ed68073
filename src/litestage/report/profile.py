"""The search as a document: every trial, the target, the calibrated costs, what it took, how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from litestage.search.stagewise import Found
from litestage.search.trial import Spent, Trial

FORMAT, VERSION = "litestage-search", 2


def profile(found: Found, cost: Mapping[str, Any], spent: Spent, confidence: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `search.json`."""
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
                "budget": t.choice.budget,
                "exit": t.choice.exit.threshold if t.choice.exit else None,
                "prefill": t.choice.prefill,
                "budgets": t.trial.plan.budgets,
                "accuracy": t.trial.accuracy,
                "latency": None if t.trial.stopped else t.trial.seconds,
                "tokens": dict(t.trial.tokens),
                "answered": len(t.trial.right),
                "stopped": t.trial.stopped,
                "feasible": t.feasible,
                "chosen": t.chosen,
            }
            for t in found.tried
        ],
        "cost_model": dict(cost),
        "spent": asdict(spent),
        "confidence": dict(confidence),
    }


def _numbers(trial: Trial) -> dict[str, Any]:
    return {"accuracy": trial.accuracy, "latency": dict(trial.latency), "tokens": dict(trial.tokens), "n": trial.n}

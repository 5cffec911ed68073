"""The paper's experiments, one function each: a trained run in, a table with its figures out.

python evaluate.py --evaluate.experiment motivation      # or `all`; docs/experiments.md has the list

To read the code, begin with `result.py` and `bench.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from litestage.experiments.bench import Bench
from litestage.experiments.frontier import frontier
from litestage.experiments.proxy import proxy
from litestage.experiments.result import Result
from litestage.experiments.searched import budgets, search_cost
from litestage.experiments.sweeps import exit_saving, motivation, thresholds
from litestage.experiments.tokens import confidence, entropy, example
from litestage.experiments.trained import dynamics, importance

KNOWN: dict[str, Callable[[Bench], Result]] = {
    "motivation": motivation,
    "entropy": entropy,
    "frontier": frontier,
    "budgets": budgets,
    "exit": exit_saving,
    "confidence": confidence,
    "importance": importance,
    "dynamics": dynamics,
    "example": example,
    "thresholds": thresholds,
    "search-cost": search_cost,
    "proxy": proxy,
}
"""`evaluate.experiment` -> what makes it, in the order of `config.judging.EXPERIMENTS`."""

__all__ = ["KNOWN", "Bench", "Result"]

"""What reuse and racing save a search, in tokens: the naive search, the exact race and the statistical one.

The naive search runs every budget over every question. All three use the same model, questions, ranking and costs, so
the exact race must end in the naive plan. Needs a finished `python train.py`; takes all of its options.

    python scripts/bench_search.py [--config ...] [--search.max_budget 16]

The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from litestage.engine import Engine
from litestage.model.decode import Trace
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.runs import trained_engine, trained_importance
from litestage.search.cost import CostModel, calibrate
from litestage.search.objective import Objective
from litestage.search.ranking import rank
from litestage.search.stagewise import search
from litestage.search.trial import Spent, Trial
from litestage.settings import parse
from litestage.text.benchmarks import load

DEFAULT = Path(__file__).parents[1] / "configs" / "miniworld.yaml"


@dataclass
class Naive:
    """Tries every plan on every question, from nothing, and takes the work as the pipeline counted it."""

    engine: Engine
    questions: Sequence[Question]
    cost: CostModel
    spent: Spent = field(default_factory=Spent)

    def trial(self, plan: Plan) -> Trial:
        """One pass over all questions."""
        usage = (result := run(self.engine, self.questions, plan)).usage
        n = len(self.questions)
        self.spent.prefill += sum(u.trace.prefill_tokens for u in usage.values())
        self.spent.generated += sum(u.tokens for u in usage.values())
        right = {q.id: a.answer == q.answer for q, a in zip(self.questions, result.attempts, strict=True)}
        latency = {
            name: (self.cost.prefill_seconds(u.trace) + self._decode_seconds(u.trace, plan.stages[name])) / n
            for name, u in usage.items()
        }
        return Trial(plan, n, right, latency, tokens={name: u.tokens / n for name, u in usage.items()})

    def _decode_seconds(self, trace: Trace, stage: StagePlan) -> float:
        return self.cost.decode_seconds(trace.steps, stage.skip, confident=stage.exit is not None)

    def race(self, plans: Sequence[Plan], needed: int, limit: float, best: Trial | None = None) -> list[Trial]:
        """No race."""
        return [self.trial(plan) for plan in plans]

    def rank_questions(self, base: Trial) -> None:
        """The order makes no difference."""


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Search three times and compare."""
    given = parse(argv, DEFAULT)
    experiment, settings = given.experiment, given.experiment.search
    engine = trained_engine(given)
    importance = trained_importance(given.folder)
    validation = load(experiment.data, experiment.seed).validation
    questions = validation[: settings.questions]
    cost = calibrate(engine.decoder, engine.rows_at_once(questions), 100)
    orders = rank(engine, importance, validation[: settings.importance_questions], settings, cost)
    objectives: dict[str, Objective | Naive] = {
        "naive": Naive(engine, questions, cost),
        "exact": Objective(engine, questions, cost, "exact"),
        "racing": Objective(engine, questions, cost, "statistical", settings.racing_error, experiment.seed),
    }
    table = Table(title=f"{experiment.run}: search, n = {len(questions)}, eps {settings.eps}")
    for header in ("search", "budgets", "prefill tokens", "generated tokens", "of naive"):
        table.add_column(header)
    plans, spent = {}, {}
    for name, objective in objectives.items():
        found = search(objective, orders, replace(settings, racing="exact"))  # type: ignore[arg-type]
        plans[name], spent[name] = found.plan.stages, objective.spent
        tokens = [s.prefill + s.generated for s in (objective.spent, spent["naive"])]
        counts = str(found.plan.budgets)
        table.add_row(name, counts, *map(str, vars(objective.spent).values()), f"{tokens[0] / tokens[1]:.3f}")
    Console(file=sys.stderr).print(table)
    total = {name: s.prefill + s.generated for name, s in spent.items()}
    summary = {
        "same_plan_exact": plans["exact"] == plans["naive"],
        "token_ratio_exact": round(total["exact"] / total["naive"], 4),
        "same_plan_racing": plans["racing"] == plans["naive"],
        "token_ratio_racing": round(total["racing"] / total["naive"], 4),
        "spent": {name: vars(s) for name, s in spent.items()},
        "n": len(questions),
        "eps": settings.eps,
    }
    print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    main()

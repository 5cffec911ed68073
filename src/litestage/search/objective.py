"""What a plan is worth: accuracy on the search's questions, and latency by cost model or by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from litestage.metrics import score, tokens_per_question
from litestage.pipeline import Engine, run
from litestage.plan import Plan
from litestage.records import Question
from litestage.search.cost import CostModel


@dataclass(frozen=True)
class Trial:
    """One plan, tried. Latencies are seconds per question; `latency` is what the search minimises."""

    plan: Plan
    accuracy: float
    n: int
    latency: Mapping[str, float]
    measured: Mapping[str, float]
    tokens: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """End-to-end latency."""
        return sum(self.latency.values())


@dataclass
class Objective:
    """Scores plans on fixed questions with greedy decoding; a plan that was tried is not run again.

    Without a `cost` model the latency is the measured one.
    """

    engine: Engine
    questions: Sequence[Question]
    cost: CostModel | None
    progress: Callable[[int], None] | None = None
    _tried: dict[str, Trial] = field(default_factory=dict)

    def __call__(self, plan: Plan) -> Trial:
        """Run the plan over all questions."""
        key = repr(sorted(plan.stages.items()))
        if key not in self._tried:
            self._tried[key] = self._try(plan)
        return self._tried[key]

    def _try(self, plan: Plan) -> Trial:
        result = run(self.engine, self.questions, plan, progress=self.progress)
        n = len(self.questions)
        measured = {name: usage.seconds / n for name, usage in result.usage.items()}
        latency = measured
        if self.cost is not None:
            latency = {
                name: (
                    self.cost.prefill_seconds(usage.trace)
                    + self.cost.decode_seconds(usage.trace.steps, plan.stages[name].skip)
                )
                / n
                for name, usage in result.usage.items()
            }
        accuracy = score(self.questions, result.attempts).accuracy
        tokens = tokens_per_question(result.attempts, self.engine.stage_names)
        return Trial(plan, accuracy, n, latency, measured, tokens)

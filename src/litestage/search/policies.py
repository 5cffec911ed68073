"""Ways to choose what is skipped, all behind one interface: a budget of sub-layers in, a plan out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from litestage.model.importance import Importance
from litestage.plan import ExitRule, Plan, StagePlan


class Policy(Protocol):
    """A method that turns a budget into a plan."""

    @property
    def name(self) -> str:
        """What results call the method."""
        ...

    def plan(self, budget: int) -> Plan:
        """The plan that skips about `budget` sub-layers in every stage."""
        ...


def staged_plan(
    model: str,
    num_sublayers: int,
    orders: Mapping[str, Sequence[int]],
    budgets: Mapping[str, int],
    exits: Mapping[str, ExitRule] | None = None,
    prefill: Collection[str] = (),
) -> Plan:
    """Skip the first `budgets[stage]` sub-layers of `orders[stage]` in each stage, in those of `prefill` there too.

    Raises:
        ValueError: a budget is negative or larger than the number of sub-layers.
    """
    exits, stages = exits or {}, {}
    for stage, budget in budgets.items():
        if not 0 <= budget <= len(orders[stage]):
            raise ValueError(f"stage {stage!r}: budget {budget} is outside 0 to {len(orders[stage])} sub-layers")
        stages[stage] = StagePlan(tuple(orders[stage][:budget]), exits.get(stage), stage in prefill and budget > 0)
    return Plan(model, num_sublayers, stages)


@dataclass(frozen=True)
class AdaSkip:
    """One budget for every stage, by the importance ranking (AdaSkip, AAAI 2025; decode only)."""

    importance: Importance
    stages: Sequence[str]
    name: str = "adaskip"

    def plan(self, budget: int) -> Plan:
        """The `budget` most skippable sub-layers, in every stage."""
        orders = dict.fromkeys(self.stages, self.importance.order)
        return staged_plan(
            self.importance.model, len(self.importance.order), orders, dict.fromkeys(self.stages, budget)
        )


def nearest_budget(plan: Plan) -> int:
    """The uniform budget, in sub-layers, nearest to a plan's mean."""
    return round(2 * plan.mean_full_layers)

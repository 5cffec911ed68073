"""Budgets in, plans out."""

from __future__ import annotations

import pytest

from litestage.model.importance import Importance
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.search.policies import AdaSkip, Policy, nearest_budget, staged_plan

STAGES = ("recall", "analyze", "summarize")
SIMILARITY = [0.5, 0.9, 0.7, 0.9, 0.9, 0.1]
"""Most skippable first: 4 (attention wins the tie), 1, 3, 2, 0, 5."""
IMPORTANCE = Importance("m", dict.fromkeys(STAGES, SIMILARITY), 3)


def test_the_most_skippable_go_first() -> None:
    plan = staged_plan(IMPORTANCE, {"recall": 0, "analyze": 1, "summarize": 4})
    assert {name: stage.skip for name, stage in plan.stages.items()} == {
        "recall": (),
        "analyze": (4,),
        "summarize": (1, 2, 3, 4),
    }
    assert (plan.model, plan.num_sublayers) == ("m", 6)


def test_exit_rules_go_to_their_stages() -> None:
    rule = ExitRule(3, 0.4)
    plan = staged_plan(IMPORTANCE, dict.fromkeys(STAGES, 2), {"analyze": rule})
    assert [stage.exit for stage in plan.stages.values()] == [None, rule, None]


@pytest.mark.parametrize("budget", [-1, 7])
def test_impossible_budgets_are_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=rf"'analyze': budget {budget} is outside 0 to 6"):
        staged_plan(IMPORTANCE, {"recall": 0, "analyze": budget})


@pytest.mark.parametrize("budget", range(7))
def test_adaskip_skips_the_same_in_every_stage(budget: int) -> None:
    policy: Policy = AdaSkip(IMPORTANCE, STAGES)
    plan = policy.plan(budget)
    assert policy.name == "adaskip"
    assert list(plan.stages) == list(STAGES)
    assert {stage.skip for stage in plan.stages.values()} == {tuple(sorted([4, 1, 3, 2, 0, 5][:budget]))}
    assert not any(stage.exit for stage in plan.stages.values())
    assert nearest_budget(plan) == budget


@pytest.mark.parametrize(("budgets", "nearest"), [((0, 0, 0), 0), ((2, 4, 5), 4), ((1, 0, 0), 0), ((6, 6, 5), 6)])
def test_nearest_budget_is_the_mean_in_sublayers(budgets: tuple[int, ...], nearest: int) -> None:
    stages = {name: StagePlan(tuple(range(b))) for name, b in zip(STAGES, budgets, strict=True)}
    assert nearest_budget(Plan("m", 6, stages)) == nearest

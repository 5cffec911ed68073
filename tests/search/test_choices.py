"""What the search tries beside a budget: fewer of them first, exit rules, skipping in prefill. On hand-made tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from litestage.config import SearchSettings
from litestage.plan import ExitRule, Plan
from litestage.search.stagewise import Choice, Found, search

STAGES = ["recall", "analyze", "summarize"]
FULL_LATENCY = {"recall": 0.2, "analyze": 0.9, "summarize": 0.1}

Row = tuple[float, Mapping[str, float]]
MakeTable = Callable[..., Any]


def found_in(table: Any, **settings: Any) -> Found:
    given = SearchSettings(**{"step": 1, "exit_threshold": None, **settings})
    return search(table, dict.fromkeys(STAGES, range(8)), given)


def alone(row: Callable[[int, float | None], tuple[float, float]]) -> Callable[[Plan], Row]:
    """Only analyze has anything to gain: `row(budget, threshold)` is its accuracy and latency."""

    def look_up(plan: Plan) -> Row:
        part = plan.stages["analyze"]
        if any(plan.stages[name].skip or plan.stages[name].exit for name in ("recall", "summarize")):
            return 0.0, FULL_LATENCY
        accuracy, seconds = row(len(part.skip), part.exit.threshold if part.exit else None)
        return accuracy, {**FULL_LATENCY, "analyze": seconds}

    return look_up


def tried(found: Found, stage: str = "analyze") -> list[tuple[int, float | None]]:
    """Budget and threshold of everything that was tried for a stage."""
    choices = [t.choice for t in found.tried if t.stage == stage]
    return [(choice.budget, choice.exit.threshold if choice.exit else None) for choice in choices]


def raced(table: Any, number: int) -> list[int]:
    """Budgets of analyze in a race."""
    return [trial.plan.budgets["analyze"] for trial in table.races[number][2]]


@pytest.mark.parametrize(
    ("best", "coarse", "first", "then"),
    [
        (5, 3, [3, 6], [4, 5, 7, 8]),  # 6 is the best of 0, 3, 6
        (4, 4, [4, 8], [1, 2, 3, 5, 6, 7]),
        (1, 3, [3, 6], [1, 2]),  # 0
        (8, 2, [2, 4, 6, 8], [7]),
        (3, 1, [1, 2, 3, 4, 5, 6, 7, 8], None),
    ],
)
def test_some_budgets_are_tried_then_all_around_the_best_of_them(
    table: MakeTable, best: int, coarse: int, first: list[int], then: list[int] | None
) -> None:
    objective = table(alone(lambda budget, _: (0.5, 0.5 + abs(budget - best) / 10)))
    found = found_in(objective, coarse=coarse)
    assert raced(objective, 0) == first
    assert len(objective.races) == (3 if then is None else 6)
    if then is not None:
        assert raced(objective, 1) == then
        so_far = [found.full_depth, *objective.races[0][2]]
        assert objective.races[1][1] == min(trial.seconds for trial in so_far)
    assert found.plan.budgets["analyze"] == best
    assert tried(found) == sorted((budget, None) for budget in [0, *first, *(then or [])])


def test_ties_go_to_the_smaller_budget_though_it_is_tried_later(table: MakeTable) -> None:
    objective = table(alone(lambda budget, _: (0.5, 0.9 if budget in (0, 6) else 0.3)))
    found = found_in(objective, coarse=3)
    assert raced(objective, 1) == [1, 2, 4, 5]
    assert found.plan.budgets["analyze"] == 1


def test_coarse_to_fine_never_tries_a_budget_twice(table: MakeTable) -> None:
    objective = table(lambda plan: (0.5, {name: 1.0 - 0.05 * plan.budgets[name] for name in STAGES}))
    found_in(objective, coarse=2, step=2, exit_candidates=[0.3])
    plans = [trial.plan for trial in objective.trials]
    assert all(plan not in plans[:i] for i, plan in enumerate(plans))


def test_around_the_best_all_exit_rules_are_tried(table: MakeTable) -> None:
    found = found_in(table(alone(lambda *_: (0.5, 0.9))), coarse=8, exit_candidates=[0.3], exit_stages=["analyze"])
    assert tried(found) == [(budget, rule) for budget in range(9) for rule in (None, 0.3)]


def worthwhile(budget: int, threshold: float | None) -> tuple[float, float]:
    """Skipping six makes outputs ramble, which only early exit cures."""
    if threshold is None:
        return 0.5, {0: 0.9, 2: 0.8, 4: 0.85, 6: 1.5}.get(budget, 2.0)
    return (0.3 if threshold > 0.4 else 0.5), {0: 0.88, 2: 0.78, 4: 0.8, 6: 0.6}.get(budget, 2.0)


def test_an_exit_rule_can_make_a_larger_budget_worthwhile(table: MakeTable) -> None:
    objective = table(alone(worthwhile))
    found = found_in(objective, step=2, exit_candidates=[0.3, 0.6], exit_window=4, exit_stages=["analyze"])
    assert found.plan.budgets["analyze"] == 6
    assert found.plan.stages["analyze"].exit == ExitRule(4, 0.3)  # 0.6 would break the target
    assert found.exit_kept
    assert found.final.plan == found.plan
    assert found_in(table(alone(worthwhile)), step=2).plan.budgets["analyze"] == 2
    joined = found_in(table(alone(worthwhile)), step=2, exit_threshold=0.3, exit_stages=["analyze"])
    assert (joined.plan.budgets["analyze"], joined.exit_kept) == (2, True)


def test_every_budget_is_tried_without_and_with_every_candidate(table: MakeTable) -> None:
    objective = table(lambda _: (0.5, FULL_LATENCY))
    found = found_in(objective, step=4, exit_candidates=[0.6, 0.3], exit_quantile=0.1, exit_window=3)
    assert tried(found, "analyze") == [(b, rule) for b in (0, 4, 8) for rule in (None, 0.3, 0.35, 0.6)]
    assert tried(found, "recall") == [(b, rule) for b in (0, 4, 8) for rule in (None, 0.25, 0.3, 0.6)]
    assert tried(found, "summarize") == [(b, None) for b in (0, 4, 8)]  # the last stage never exits early
    assert objective.quantiles == [("analyze", 3, 0.1), ("recall", 3, 0.1)]
    assert not found.exit_kept  # on a tie nothing is changed
    assert found.plan == found.full_depth.plan


def test_a_stage_keeps_its_exit_rule_while_the_next_one_is_searched(table: MakeTable) -> None:
    def row(plan: Plan) -> Row:
        exits = {name for name in STAGES if plan.stages[name].exit}
        return 0.5, {name: FULL_LATENCY[name] * (0.5 if name in exits else 1) for name in STAGES}

    found = found_in(table(row), step=8, exit_candidates=[0.2])
    rules = [part.exit for part in found.plan.stages.values()]
    assert rules == [ExitRule(5, 0.2), ExitRule(5, 0.2), None]
    recall = [t.trial.plan.stages["analyze"].exit for t in found.tried if t.stage == "recall"]
    assert recall == [ExitRule(5, 0.2)] * 4
    assert found.final.seconds == pytest.approx(0.1 + 0.45 + 0.1)


def test_candidates_take_the_place_of_the_fixed_rule(table: MakeTable) -> None:
    found = found_in(table(lambda _: (0.5, FULL_LATENCY)), step=8, exit_candidates=[0.2], exit_threshold=0.7)
    assert {rule for _, rule in tried(found)} == {None, 0.2}
    assert not any(part.exit for part in found.plan.stages.values())


@pytest.mark.parametrize(("accuracy", "kept"), [(0.49, True), (0.489, False)])
def test_the_fixed_rule_is_dropped_when_it_breaks_the_target(table: MakeTable, accuracy: float, kept: bool) -> None:
    def row(plan: Plan) -> Row:
        if any(part.exit for part in plan.stages.values()):
            return accuracy, {**FULL_LATENCY, "analyze": 0.1}
        skips_two = plan.budgets == {"recall": 0, "analyze": 2, "summarize": 0}
        return (0.495 if skips_two else 0.5), {**FULL_LATENCY, "analyze": 0.3 if skips_two else 0.9}

    found = found_in(table(row), eps=0.01, exit_threshold=0.4, exit_window=3)
    assert found.exit_kept is kept
    assert found.plan.budgets["analyze"] == 2
    rule = ExitRule(3, 0.4) if kept else None
    assert [part.exit for part in found.plan.stages.values()] == [rule, rule, None]  # never in the last stage
    assert found.final.accuracy == (accuracy if kept else 0.495)
    assert found.final.plan == found.plan


@pytest.mark.parametrize(("seconds", "kept"), [(0.89, True), (0.9, True), (0.9 + 1e-12, True), (0.91, False)])
def test_the_fixed_rule_is_dropped_when_it_makes_the_plan_slower(table: MakeTable, seconds: float, kept: bool) -> None:
    def row(plan: Plan) -> Row:
        exits = any(part.exit for part in plan.stages.values())
        return 0.5, {**FULL_LATENCY, "analyze": seconds if exits else 0.9}

    found = found_in(table(row), exit_threshold=0.4)
    assert found.exit_kept is kept
    assert any(part.exit for part in found.plan.stages.values()) is kept
    assert found.final.seconds == pytest.approx((seconds if kept else 0.9) + 0.1 + FULL_LATENCY["recall"])


@pytest.mark.parametrize(
    ("named", "exits"), [(["summarize"], {"summarize"}), (None, {"recall", "analyze"}), ([], set())]
)
def test_exit_stages(table: MakeTable, named: list[str] | None, exits: set[str]) -> None:
    fixed = found_in(table(lambda _: (0.5, FULL_LATENCY)), exit_threshold=0.5, exit_stages=named)
    assert {name for name, part in fixed.plan.stages.items() if part.exit} == exits
    searched = found_in(table(lambda _: (0.5, FULL_LATENCY)), exit_candidates=[0.5], exit_stages=named)
    assert {t.stage for t in searched.tried if t.choice.exit} == exits


def test_no_exit_rule_is_no_kept_exit(table: MakeTable) -> None:
    found = found_in(table(lambda _: (0.5, FULL_LATENCY)), exit_threshold=None)
    assert not found.exit_kept
    assert not any(part.exit for part in found.plan.stages.values())


def test_the_fixed_rule_never_takes_part_in_the_choice_of_budgets(table: MakeTable) -> None:
    found = found_in(table(alone(worthwhile)), exit_threshold=0.5)
    assert not any(part.exit for t in found.tried for part in t.trial.plan.stages.values())


def test_a_bad_exit_rule_is_refused_before_anything_is_tried(table: MakeTable) -> None:
    objective, settings = table(alone(worthwhile)), SearchSettings()
    settings.exit_threshold = 1.5
    with pytest.raises(ValueError, match=r"exit threshold is 1\.5"):
        search(objective, dict.fromkeys(STAGES, range(8)), settings)
    assert objective.trials == []


def reading(plan: Plan) -> Row:
    """Skipping in prefill saves a little more, and from three sub-layers on costs accuracy."""
    saved = {name: (0.02 + 0.01 * part.prefill) * len(part.skip) for name, part in plan.stages.items()}
    worse = sum(part.prefill and len(part.skip) > 2 for part in plan.stages.values())
    rambling = sum(len(part.skip) > 4 for part in plan.stages.values())
    return 0.5 - 0.2 * worse - 0.2 * rambling, {name: FULL_LATENCY[name] * (1 - saved[name]) for name in STAGES}


def test_prefill_skips_only_where_the_settings_ask_for_it(table: MakeTable) -> None:
    found = found_in(table(reading))
    assert not any(t.choice.prefill for t in found.tried)
    assert set(found.plan.budgets.values()) == {4}
    assert not any(part.prefill for part in found.plan.stages.values())


def test_every_budget_is_tried_with_skipping_in_prefill_too(table: MakeTable) -> None:
    found = found_in(table(reading), step=2, prefill=True)
    analyze = [(t.choice.budget, t.choice.prefill) for t in found.tried if t.stage == "analyze"]
    assert analyze == [(0, False), *((budget, way) for budget in (2, 4, 6, 8) for way in (False, True))]
    assert [t.choice for t in found.tried if t.chosen] == [Choice(4)] * 3  # 4 without saves 8 %, 2 with it 6 %
    few = found_in(table(reading), step=2, max_budget=2, prefill=True)
    assert [t.choice for t in few.tried if t.chosen] == [Choice(2, None, True)] * 3
    assert all(part.prefill for part in few.plan.stages.values())


def test_on_a_tie_prefill_is_at_full_depth(table: MakeTable) -> None:
    saving = lambda plan: (0.5, {n: 1.0 - 0.1 * plan.budgets[n] for n in STAGES})  # noqa: E731
    found = found_in(table(saving), prefill=True)
    assert set(found.plan.budgets.values()) == {8}
    assert not any(part.prefill for part in found.plan.stages.values())


def test_the_fixed_exit_rule_joins_a_plan_that_skips_in_prefill(table: MakeTable) -> None:
    found = found_in(table(reading), step=2, max_budget=2, prefill=True, exit_threshold=0.4)
    assert [(part.prefill, bool(part.exit)) for part in found.plan.stages.values()] == [
        (True, True),
        (True, True),
        (True, False),
    ]

"""The search against a hand-made table instead of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from litestage.config import SearchSettings
from litestage.plan import Plan, StagePlan
from litestage.search.stagewise import Found, Tried, budgets, search
from litestage.search.trial import Trial

STAGES = ["recall", "analyze", "summarize"]
COUNT = 8
N = 1000
FULL_LATENCY = {"recall": 0.2, "analyze": 0.9, "summarize": 0.1}
BACKWARDS = list(range(COUNT))[::-1]
"""Sub-layer 7 is skipped first, then 6, 5, ..."""

Row = tuple[float, Mapping[str, float]]
MakeTable = Callable[..., Any]


def found_in(table: Any, orders: Mapping[str, Sequence[int]] | None = None, **settings: Any) -> Found:
    given = SearchSettings(**{"step": 1, "exit_threshold": None, **settings})
    return search(table, orders or dict.fromkeys(STAGES, BACKWARDS), given)


def curve(stage: str, rows: Mapping[int, tuple[float, float]]) -> Callable[[Plan], Row]:
    """Only `stage` has anything to gain: budget -> (accuracy, its latency); other budgets ruin the accuracy."""

    def row(plan: Plan) -> Row:
        chosen = plan.budgets
        if any(chosen[other] for other in STAGES if other != stage):
            return 0.0, FULL_LATENCY
        accuracy, seconds = rows.get(chosen[stage], (0.0, 0.0))
        return accuracy, {**FULL_LATENCY, stage: seconds}

    return row


def of(found: Found, stage: str) -> list[Tried]:
    return [tried for tried in found.tried if tried.stage == stage]


WORKED = {
    0: (0.517, 0.3412),
    1: (0.514, 0.3350),
    2: (0.520, 0.3201),
    3: (0.509, 0.3090),
    4: (0.508, 0.2986),
    5: (0.507, 0.3120),  # exactly at the target, but longer outputs
    6: (0.506, 0.2871),  # faster, but below the target
    7: (0.400, 0.2500),
    8: (0.020, 0.9000),
}


def test_the_worked_example_of_the_paper(table: MakeTable) -> None:
    """A0 51.7 %, eps 1.0 %: of the budgets at or above 50.7 % the one of 4 has the least latency, 0.2986 s."""
    found = found_in(table(curve("analyze", WORKED)), eps=0.01)
    assert found.target == pytest.approx(0.507)
    assert found.plan.budgets == {"recall": 0, "analyze": 4, "summarize": 0}
    assert found.plan.stages["analyze"].skip == (4, 5, 6, 7)
    assert found.final.latency["analyze"] == 0.2986
    assert [t.choice.budget for t in of(found, "analyze") if t.feasible] == [0, 1, 2, 3, 4, 5]
    assert [t.choice.budget for t in of(found, "analyze") if t.chosen] == [4]


def test_without_slack_only_budgets_as_good_as_full_depth_count(table: MakeTable) -> None:
    found = found_in(table(curve("analyze", WORKED)), eps=0.0)
    assert found.plan.budgets["analyze"] == 2


def test_stages_come_slowest_first_and_keep_what_was_chosen(table: MakeTable) -> None:
    """Every skipped sub-layer saves time; each stage's third one costs too much accuracy."""

    def row(plan: Plan) -> Row:
        chosen = plan.budgets
        accuracy = 0.9 - 0.002 * sum(chosen.values()) - 0.5 * any(b > 2 for b in chosen.values())
        return accuracy, {name: FULL_LATENCY[name] * (1 - 0.05 * chosen[name]) for name in STAGES}

    objective = table(row)
    found = found_in(objective, eps=0.02)
    assert list(dict.fromkeys(t.stage for t in found.tried)) == ["analyze", "recall", "summarize"]
    assert [t.trial.plan.budgets["analyze"] for t in found.tried] == [*range(9), *[2] * 18]
    assert [t.trial.plan.budgets["recall"] for t in found.tried] == [*[0] * 9, *range(9), *[2] * 9]
    assert found.plan.budgets == {"recall": 2, "analyze": 2, "summarize": 2}


def test_every_stage_races_from_the_best_plan_so_far_against_its_latency_and_the_one_target(table: MakeTable) -> None:
    def row(plan: Plan) -> Row:
        chosen = plan.budgets
        saved = {name: 0.05 * min(chosen[name], 3) for name in STAGES}
        return 0.9 - 0.001 * sum(chosen.values()), {name: FULL_LATENCY[name] * (1 - saved[name]) for name in STAGES}

    objective = table(row)
    found = found_in(objective, eps=0.05)
    chosen = [t for t in found.tried if t.chosen]
    assert objective.bases == [found.full_depth, *(t.trial for t in chosen[:-1])]
    assert [needed for needed, *_ in objective.races] == [850] * 3
    assert [limit for _, limit, _ in objective.races] == [base.seconds for base in objective.bases]
    assert [len(trials) for *_, trials in objective.races] == [8] * 3  # the choice that changes nothing is known
    assert found.final == chosen[-1].trial


def test_the_target_stays_so_the_slowest_stage_may_spend_the_loss(table: MakeTable) -> None:
    def row(plan: Plan) -> Row:
        chosen = plan.budgets
        latency = {name: FULL_LATENCY[name] * (1 - 0.05 * chosen[name]) for name in STAGES}
        return 0.9 - 0.01 * sum(chosen.values()), latency

    found = found_in(table(row), eps=0.03)
    assert found.plan.budgets == {"recall": 0, "analyze": 3, "summarize": 0}
    assert found.target == pytest.approx(0.87)


def test_ties_go_to_the_smaller_budget(table: MakeTable) -> None:
    rows = {0: (0.5, 0.3), 1: (0.5, 0.2), 2: (0.5, 0.2), 3: (0.5, 0.25)}
    assert found_in(table(curve("analyze", rows))).plan.budgets["analyze"] == 1


def test_nothing_feasible_means_nothing_is_skipped(table: MakeTable) -> None:
    """Skipping always ruins the accuracy, and full depth is slower than all."""
    found = found_in(table(curve("analyze", {0: (0.5, 0.9)})))
    assert set(found.plan.budgets.values()) == {0}
    assert found.final == found.full_depth


def test_a_budget_that_makes_outputs_longer_loses(table: MakeTable) -> None:
    """What counts is the end-to-end latency: skipping in the first stage may lengthen the others."""

    def row(plan: Plan) -> Row:
        skipped = plan.budgets["recall"] > 0
        return 0.5, {"recall": 2.0 - skipped, "analyze": 1.0 + 2 * skipped, "summarize": 0.1}

    found = found_in(table(row))
    assert found.plan.budgets["recall"] == 0
    assert found.tried[0].stage == "recall"


def test_a_plan_that_was_given_up_is_never_chosen(table: MakeTable) -> None:
    objective = table(curve("analyze", WORKED))
    objective.race = lambda plans, *_: [Trial(plan, N, {"q0": True}, stopped="latency") for plan in plans]
    found = found_in(objective)
    assert set(found.plan.budgets.values()) == {0}
    assert [t.feasible for t in found.tried] == [True, *[False] * 8] * 3


@pytest.mark.parametrize(
    ("full", "eps", "reached", "feasible"),
    [(0.78, 0.01, 0.77, True), (0.78, 0.01, 0.76, False), (0.17, 0.05, 0.12, True), (0.17, 0.05, 0.11, False)],
)
def test_accuracies_are_compared_as_counts(
    table: MakeTable, full: float, eps: float, reached: float, feasible: bool
) -> None:
    """In floats 100 times 0.17 - 0.05 is a bit more than 12, yet 12 of 100 reach the target."""
    assert 100 * (0.17 - 0.05) > 12
    found = found_in(table(curve("analyze", {0: (full, 0.3), 1: (reached, 0.2)}), n=100), eps=eps)
    assert found.plan.budgets["analyze"] == int(feasible)


def test_a_loss_above_all_there_is_to_lose_is_refused(table: MakeTable) -> None:
    objective = table(lambda _: (0.3, FULL_LATENCY))
    with pytest.raises(ValueError, match=r"search\.eps is 0\.31, above full depth's accuracy of 0\.3000"):
        found_in(objective, eps=0.31)
    assert len(objective.trials) == 1
    assert found_in(objective, eps=0.3).target == 0.0


@pytest.mark.parametrize(
    ("settings", "tried"),
    [
        ({"step": 1}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"step": 3}, [0, 3, 6]),
        ({"step": 2, "max_budget": 5}, [0, 2, 4]),
        ({"step": 4, "max_budget": 99}, [0, 4, 8]),
        ({"step": 1, "max_budget": 0}, [0]),
    ],
)
def test_tried_budgets(table: MakeTable, settings: dict[str, int], tried: list[int]) -> None:
    assert list(budgets(COUNT, SearchSettings(**settings))) == tried
    found = found_in(table(lambda _: (0.5, FULL_LATENCY)), **settings)
    assert [t.choice.budget for t in found.tried] == tried * 3


def test_what_an_order_does_not_name_is_never_skipped(table: MakeTable) -> None:
    saving = lambda plan: (0.5, {name: 1.0 - 0.1 * plan.budgets[name] for name in STAGES})  # noqa: E731
    found = found_in(table(saving), {"recall": [5, 2, 6], "analyze": [1], "summarize": []})
    assert [len(of(found, stage)) for stage in STAGES] == [4, 2, 1]
    assert found.plan.stages == {"recall": StagePlan((2, 5, 6)), "analyze": StagePlan((1,)), "summarize": StagePlan()}


def test_reports_come_as_a_stage_is_decided(table: MakeTable) -> None:
    objective, told, known = table(curve("analyze", WORKED)), [], []

    def report(tried: Tried) -> None:
        told.append(tried)
        known.append(len(objective.trials))

    settings = SearchSettings(step=1, exit_threshold=None)
    found = search(objective, dict.fromkeys(STAGES, BACKWARDS), settings, report)
    assert told == list(found.tried)
    assert known == [*[9] * 9, *[17] * 9, *[25] * 9]

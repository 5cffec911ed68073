"""Trials: what a plan scores and costs, and that no plan is run twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litestage import pipeline
from litestage.metrics import score, tokens_per_question
from litestage.pipeline import Engine, run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Question
from litestage.search import objective as module
from litestage.search.cost import CostModel
from litestage.search.objective import Objective

COST = CostModel(6, [1, 20], [(1.0, 0.5, 0.25), (20.0, 10.0, 5.0)], (10.0, 0.5), {})


@pytest.fixture
def plans_run(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that really ran."""
    seen: list[Plan] = []

    def spy(engine: Engine, questions: Any, plan: Plan, **rest: Any) -> Any:
        seen.append(plan)
        return run(engine, questions, plan, **rest)

    monkeypatch.setattr(module, "run", spy)
    return seen


def plan(engine: Engine, *skips: tuple[int, ...], rule: ExitRule | None = None) -> Plan:
    stages = {name: StagePlan(s, rule) for name, s in zip(engine.stage_names, skips, strict=True)}
    return Plan(engine.name, engine.decoder.num_sublayers, stages)


def test_a_plan_is_never_run_twice(engine: Engine, questions: list[Question], plans_run: list[Plan]) -> None:
    objective = Objective(engine, questions, COST)
    first = objective(plan(engine, (0, 3), (), (1,)))
    again = objective(plan(engine, (3, 0), (), (1,)))  # the same sets in another order
    assert again is first
    assert len(plans_run) == 1
    objective(plan(engine, (0, 3), (1,), ()))
    objective(plan(engine, (0, 3), (), (1,), rule=ExitRule()))
    assert len(plans_run) == 3


def test_provenance_makes_no_new_plan(engine: Engine, questions: list[Question], plans_run: list[Plan]) -> None:
    objective = Objective(engine, questions, COST)
    objective(engine.full_depth())
    objective(replace(engine.full_depth(), provenance={"seed": 1}))
    assert len(plans_run) == 1


def test_accuracy_and_tokens_are_those_of_the_pipeline(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Noise names no option, so its length does.
    monkeypatch.setattr(pipeline, "parse", lambda text, _, labels: sorted(labels)[len(text) % len(labels)])
    wanted = plan(engine, (0,), (2, 3), (5,))
    result = run(engine, questions, wanted)
    answered = [attempt.answer for attempt in result.attempts]
    golds = ["A" if answered[0] == "B" else "B", *answered[1:]]  # all right but the first
    asked = [replace(q, answer=gold) for q, gold in zip(questions, golds, strict=True)]
    trial = Objective(engine, asked, None)(wanted)
    assert trial.accuracy == score(asked, result.attempts).accuracy == 0.8
    assert trial.n == len(asked)
    assert trial.tokens == tokens_per_question(result.attempts, engine.stage_names)
    assert trial.plan == wanted


def test_cost_latency_is_counted_work(engine: Engine, questions: list[Question]) -> None:
    wanted = plan(engine, (0, 3), (), (1,))
    usage = run(engine, questions, wanted).usage
    trial = Objective(engine, questions, COST)(wanted)
    for name, used in usage.items():
        skip = wanted.stages[name].skip
        seconds = COST.prefill_seconds(used.trace) + COST.decode_seconds(used.trace.steps, skip)
        assert trial.latency[name] == seconds / len(questions)
    assert trial.seconds == sum(trial.latency.values())
    assert trial.latency == Objective(engine, questions, COST)(wanted).latency  # no clock in it
    assert set(trial.measured) == set(trial.latency)
    assert trial.measured != trial.latency


def test_without_a_cost_model_the_clock_counts(engine: Engine, questions: list[Question]) -> None:
    trial = Objective(engine, questions, None)(engine.full_depth())
    assert trial.latency == trial.measured
    assert trial.seconds > 0


def test_progress_is_told_of_all_questions(engine: Engine, questions: list[Question]) -> None:
    told: list[int] = []
    Objective(engine, questions, COST, told.append)(engine.full_depth())
    assert sum(told) == len(questions)

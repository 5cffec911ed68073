"""In which order a race asks its questions, and what it reads out of confidences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from litestage.engine import Engine
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.search.cost import CostModel
from litestage.search.objective import Objective

MakeUp = Callable[..., tuple[Engine, list[Question]]]
SKIPS = ((0, 3), (2, 4, 5), (1,))


def plan(engine: Engine, *skips: tuple[int, ...]) -> Plan:
    return Plan(engine.name, 6, dict(zip(engine.stage_names, map(StagePlan, skips), strict=True)))


class Asked(Objective):
    """Remembers which questions were asked in which order."""

    def _answers(self, plan: Plan, chunk: Sequence[Question]) -> Any:
        self.__dict__.setdefault("asked", []).extend(q.id for q in chunk)
        return super()._answers(plan, chunk)


def asked_in(objective: Objective, wanted: Plan) -> list[str]:
    """The order in which a race asks a plan that never leaves."""
    objective.__dict__["asked"] = []
    objective.race([wanted], 1, float("inf"))
    return objective.__dict__["asked"]


def test_a_race_asks_what_the_base_gets_wrong_then_what_it_is_least_sure_of(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(3)
    objective = Asked(engine, questions, cost)
    full = objective.trial(engine.full_depth())
    objective.rank_questions(full)
    order = asked_in(objective, engine.full_depth())
    wrong = [id_ for id_, right in full.right.items() if not right]
    assert sorted(order[: len(wrong)]) == sorted(wrong)
    assert 0 < len(wrong) < len(order) - 2
    least = {
        attempt.question_id: min(
            confidence
            for output in attempt.outputs
            for stage in engine.reasoning.stages
            if stage.name == output.stage
            for confidence in objective.reuse.get(stage, StagePlan(), output.prompt).confidences  # type: ignore[union-attr]
        )
        for attempt in full.attempts
    }
    assert order[len(wrong) :] == sorted(set(order) - set(wrong), key=lambda id_: least[id_])


def test_a_race_asks_soon_what_other_plans_got_wrong(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(3)
    objective = Asked(engine, questions, cost)
    full = objective.trial(engine.full_depth())
    lost = Counter[str]()
    for wanted in (plan(engine, *SKIPS), plan(engine, (1,), (2,), (0,)), plan(engine, (4,), (4,), (4,))):
        lost.update(id_ for id_, right in objective.trial(wanted).right.items() if not right)
    objective.rank_questions(full)
    rest = [id_ for id_ in asked_in(objective, engine.full_depth()) if full.right[id_]]
    assert [lost[id_] for id_ in rest] == sorted((lost[id_] for id_ in rest), reverse=True)
    assert len({lost[id_] for id_ in rest}) > 2


def test_a_statistical_race_shuffles_the_questions(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(3)
    orders = []
    for seed in (0, 0, 1):
        objective = Asked(engine, questions, cost, "statistical", seed=seed)
        full = objective.trial(engine.full_depth())
        objective.rank_questions(full)
        orders.append(asked_in(objective, engine.full_depth()))
    assert orders[0] == orders[1] != orders[2] != [q.id for q in questions]
    assert sorted(orders[0]) == sorted(orders[2]) == sorted(full.right)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_window_quantile_is_over_all_windows_of_a_stage(made_up: MakeUp, cost: CostModel, share: float) -> None:
    engine, questions = made_up(0)
    objective = Objective(engine, questions, cost)
    full = objective.trial(engine.full_depth())
    objective.trial(plan(engine, *SKIPS))  # not of full depth: does not count
    stage = engine.reasoning.stages[1]
    means = []
    for output in (o for a in full.attempts for o in a.outputs if o.stage == stage.name):
        sure = objective.reuse.get(stage, StagePlan(), output.prompt).confidences  # type: ignore[union-attr]
        means += [sum(sure[end - 3 : end]) / 3 for end in range(3, len(sure) + 1)]
    threshold = objective.window_quantile(full, stage.name, 3, share)
    below = sum(mean < threshold for mean in means) / len(means)
    assert 0 < threshold < max(means)
    assert below == pytest.approx(share, abs=1.5 / len(means))
    assert min(abs(mean - threshold) for mean in means) > 1e-6  # rounding does not move a window across
    assert objective.window_quantile(full, stage.name, stage.max_new_tokens + 1, share) == 0.0

"""Work counted from outputs against the work that the pipeline counted while it made them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litestage.engine import Engine
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Question
from litestage.search.replay import replay, totals


@pytest.mark.parametrize("together", [1, 2, 5])
@pytest.mark.parametrize("rows", [3, 128])
@pytest.mark.parametrize("skip", [(), (0, 3), tuple(range(6))])
def test_replayed_work_is_the_work_done(
    engine: Engine, questions: list[Question], together: int, rows: int, skip: tuple[int, ...]
) -> None:
    settings = replace(engine.reasoning, batch_size=together, rows=rows)
    engine = replace(engine, reasoning=settings)
    plan = Plan(engine.name, 6, {name: StagePlan(skip, ExitRule(2, 0.4)) for name in engine.stage_names})
    result = run(engine, questions, plan)
    replayed = totals(replay(engine, result.attempts, plan, together))
    assert replayed == {name: usage.trace for name, usage in result.usage.items()}
    assert any(trace.steps for trace in replayed.values())


def test_shares_add_up_and_longer_outputs_take_more(engine: Engine, questions: list[Question]) -> None:
    attempts = run(engine, questions, engine.full_depth()).attempts
    (batch,) = replay(engine, attempts, engine.full_depth(), len(questions))
    for name, work in batch.items():
        assert sum(work.prefill_share) == pytest.approx(1.0)
        assert sum(work.decode_share) == pytest.approx(1.0)
        made = [sum(o.tokens for o in attempt.outputs if o.stage == name) for attempt in attempts]
        assert sorted(range(5), key=lambda i: made[i]) == sorted(range(5), key=lambda i: work.decode_share[i])


def test_a_plan_that_grows_is_refused_by_its_stage(engine: Engine, questions: list[Question]) -> None:
    plan = engine.full_depth()
    growing = replace(plan, stages={**plan.stages, "analyze": StagePlan(later=((3, (1,)),))})
    attempts = run(engine, questions[:1], plan).attempts
    with pytest.raises(ValueError, match=r"the skip sets of \['analyze'\] grow while decoding"):
        replay(engine, attempts, growing, 1)


def test_no_room_costs_nothing(engine: Engine, questions: list[Question]) -> None:
    attempt = run(engine, questions[:1], engine.full_depth()).attempts[0]
    last = replace(attempt.outputs[-1], tokens=0, stop="no room")
    cut = replace(attempt, outputs=(*attempt.outputs[:-1], last))
    (batch,) = replay(engine, [cut], engine.full_depth(), 1)
    assert batch["summarize"].trace.prefill_tokens == 0
    assert not batch["summarize"].trace.steps

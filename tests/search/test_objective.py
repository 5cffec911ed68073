"""Trials: what a plan scores and costs, and that nothing is made twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from litestage import sharing
from litestage.engine import Engine, encode
from litestage.metrics import score, tokens_per_question
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Question
from litestage.search import objective as module
from litestage.search.cost import CostModel
from litestage.search.journal import Journal
from litestage.search.objective import Objective
from litestage.search.trial import Trial

MakeUp = Callable[..., tuple[Engine, list[Question]]]
SKIPS = ((0, 3), (2, 4, 5), (1,))


def plan(engine: Engine, *skips: tuple[int, ...], rule: ExitRule | None = None) -> Plan:
    stages = {name: StagePlan(s, rule) for name, s in zip(engine.stage_names, skips, strict=True)}
    return Plan(engine.name, engine.decoder.num_sublayers, stages)


def plans(engine: Engine) -> list[Plan]:
    """Full depth, skipping, and the same with early exit: its outputs are beginnings of those before."""
    return [engine.full_depth(), plan(engine, *SKIPS), plan(engine, *SKIPS, rule=ExitRule(2, 0.15))]


def seconds_of(engine: Engine, questions: Sequence[Question], wanted: Plan, cost: CostModel) -> dict[str, float]:
    """Stage -> seconds of the work that the pipeline itself counts."""
    usage = run(engine, questions, wanted).usage
    return {
        name: cost.prefill_seconds(used.trace)
        + cost.decode_seconds(used.trace.steps, stage.skip, confident=stage.exit is not None)
        for (name, used), stage in zip(usage.items(), wanted.stages.values(), strict=True)
    }


def test_a_search_without_questions_is_refused(engine: Engine, cost: CostModel) -> None:
    with pytest.raises(ValueError, match="at least one validation question"):
        Objective(engine, [], cost)


@pytest.mark.parametrize("seed", range(3))
def test_a_trial_says_what_the_pipeline_says(made_up: MakeUp, cost: CostModel, seed: int) -> None:
    engine, questions = made_up(seed)
    objective = Objective(engine, questions, cost)
    accuracies = set()
    for wanted in plans(engine):
        result, trial = run(engine, questions, wanted), objective.trial(wanted)
        assert (trial.plan, trial.n, trial.stopped) == (wanted, len(questions), "")
        assert list(trial.attempts) == result.attempts
        assert trial.accuracy == score(questions, result.attempts).accuracy
        assert trial.tokens == pytest.approx(tokens_per_question(result.attempts, engine.stage_names))
        accuracies.add(trial.accuracy)
    assert len(accuracies) > 1
    assert {o.stop for a in result.attempts for o in a.outputs} >= {"eos", "confidence"}


def test_an_answer_that_names_no_option_is_wrong_even_where_none_is_known(
    engine: Engine, questions: list[Question], cost: CostModel
) -> None:
    asked = [replace(q, answer=None) for q in questions]
    trial = Objective(engine, asked, cost).trial(engine.full_depth())
    assert all(attempt.answer is None for attempt in trial.attempts)
    assert trial.accuracy == 0


@pytest.mark.parametrize(("together", "rows"), [(1, 128), (5, 3), (16, 128), (16, 5)])
def test_latency_is_the_cost_of_the_work_that_a_run_counts(
    made_up: MakeUp, cost: CostModel, together: int, rows: int
) -> None:
    engine, questions = made_up(1)
    engine = replace(engine, reasoning=replace(engine.reasoning, batch_size=together, rows=rows))
    objective = Objective(engine, questions, cost)
    for wanted in plans(engine):
        trial = objective.trial(wanted)
        want = {name: s / len(questions) for name, s in seconds_of(engine, questions, wanted, cost).items()}
        assert trial.latency == pytest.approx(want, rel=1e-12)
        assert trial.seconds == sum(trial.latency.values())


def test_seconds_of_single_questions_add_up(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(2, batch=5)
    for wanted in plans(engine):
        trial = Objective(engine, questions, cost).trial(wanted)
        assert len(trial.each) == trial.n == 12
        assert sum(trial.each) / trial.n == pytest.approx(trial.seconds)
        assert len(set(trial.each)) > 5


@pytest.mark.parametrize("part", ["prefill", "decode"])
def test_questions_share_the_seconds_of_a_batch_by_tokens_read_and_made(made_up: MakeUp, part: str) -> None:
    engine, questions = made_up(2, batch=16)
    step, token = ((0.0, 0.0, 0.0), 1.0) if part == "prefill" else ((1.0, 0.0, 0.0), 0.0)
    trial = Objective(engine, questions, CostModel(6, [1], [step], (0.0, token, 0.0, 0.0), {})).trial(
        engine.full_depth()
    )
    want = [0.0] * trial.n
    for name, seconds in trial.latency.items():
        outputs = [[o for o in attempt.outputs if o.stage == name] for attempt in trial.attempts]
        read = [sum(map(len, encode(engine.tokenizer, [o.prompt for o in some]))) for some in outputs]
        made = [sum(o.tokens for o in some) for some in outputs]
        counts = read if part == "prefill" else made
        want = [w + trial.n * seconds * count / sum(counts) for w, count in zip(want, counts, strict=True)]
    assert list(trial.each) == pytest.approx(want)


def test_a_question_that_is_answered_alone_takes_its_own_seconds(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(2, count=6, batch=1)
    wanted = plan(engine, *SKIPS)
    trial = Objective(engine, questions, cost).trial(wanted)
    alone = [sum(seconds_of(engine, [question], wanted, cost).values()) for question in questions]
    assert list(trial.each) == pytest.approx(alone)


def test_a_plan_tried_twice_makes_nothing_the_second_time(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    objective = Objective(engine, questions, cost)
    first = objective.trial(plan(engine, *SKIPS))
    spent = vars(objective.spent).copy()
    assert prod(spent.values()) > 0
    backwards = plan(engine, *(skip[::-1] for skip in SKIPS))  # the same sets in another order
    assert objective.trial(backwards) == first
    assert objective.trial(replace(backwards, provenance={"seed": 1})).right == first.right
    assert objective.race([backwards, backwards], 1, float("inf"))[1] == first
    assert vars(objective.spent) == spent


def test_only_the_stages_that_change_are_made_anew(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    objective = Objective(engine, questions, cost)
    objective.trial(plan(engine, (0,), (), ()))
    before = objective.spent.generated
    trial = objective.trial(plan(engine, (0,), (), (1, 2)))
    assert objective.spent.generated - before == round(trial.tokens["summarize"] * trial.n)


def test_what_was_spent_is_what_the_pipeline_counts(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    wanted = plan(engine, *SKIPS)
    objective = Objective(engine, questions, cost)
    objective.trial(wanted)
    usage = run(engine, questions, wanted).usage.values()
    assert objective.spent.prefill == sum(used.trace.prefill_tokens for used in usage)
    assert objective.spent.generated == sum(used.tokens for used in usage)


def test_progress_is_told_of_all_answers(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    told: list[int] = []
    objective = Objective(engine, questions, cost, progress=told.append)
    objective.trial(engine.full_depth())
    assert sum(told) == 12
    objective.race([plan(engine, *SKIPS)] * 2, 1, float("inf"))
    assert sum(told) == 36


def test_the_journal_holds_outputs_and_trials(made_up: MakeUp, cost: CostModel, tmp_path: Path) -> None:
    engine, questions = made_up(0)
    path = tmp_path / "search.jsonl"
    objective = Objective(engine, questions, cost, journal=Journal(path, {}))
    trial = objective.trial(plan(engine, *SKIPS))
    back = Journal(path, {})
    assert back.outputs == objective.reuse.outputs
    assert back.trials == [json.loads(json.dumps(trial.summary()))]
    resumed = Objective(engine, questions, cost, journal=back)
    assert resumed.trial(plan(engine, *SKIPS)) == trial
    assert vars(resumed.spent) == {"prefill": 0, "generated": 0}


def test_a_trial_in_plain_values(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    trial = Objective(engine, questions, cost).trial(plan(engine, *SKIPS, rule=ExitRule(2, 0.15)))
    summary = trial.summary()
    assert summary["stages"] == trial.plan.to_json()["stages"]
    assert (summary["answered"], summary["n"], summary["stopped"]) == (12, 12, "")
    assert (summary["accuracy"], summary["latency"]) == (trial.accuracy, trial.latency)
    gone = Trial(trial.plan, 10, {"q0": True, "q1": False}, stopped="latency")
    assert (gone.accuracy, gone.seconds, gone.reaches(0)) == (0.9, float("inf"), False)


def test_two_processes_try_plans_as_one_does(made_up: MakeUp, cost: CostModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads stand for the processes."""
    engine, questions = made_up(3, count=11)
    tried = [plan(engine, *SKIPS), plan(engine, (1,), (2,), (0,))]
    me, both, held = threading.local(), threading.Barrier(2), [None, None]

    def gather(mine: Any) -> list[Any]:
        both.wait()
        held[me.rank] = mine
        both.wait()
        return list(held)

    def work(rank: int, out: dict[int, Any]) -> None:
        me.rank = rank
        objective = Objective(engine, questions, cost)
        full = objective.trial(engine.full_depth())
        objective.rank_questions(full)
        out[rank] = full, objective.race(tried, 8, full.seconds), objective.spent, objective.reuse.outputs

    monkeypatch.setattr(module, "FIRST", 3)
    alone: dict[int, Any] = {}
    work(0, alone)
    monkeypatch.setattr(sharing, "processes", lambda: 2)
    monkeypatch.setattr(sharing, "rank", lambda: me.rank)
    monkeypatch.setattr(sharing, "gather", gather)
    out: dict[int, Any] = {}
    threads = [threading.Thread(target=work, args=(rank, out), daemon=True) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert out[0] == out[1]
    assert out[0][:2] == alone[0][:2]
    assert out[0][2].generated == alone[0][2].generated

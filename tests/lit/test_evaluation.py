"""The comparison of plans: who runs what, when, how often, and what becomes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from litestage.config import EvaluateSettings
from litestage.engine import Engine
from litestage.lit import evaluation
from litestage.lit.datamodule import QuestionData
from litestage.lit.evaluation import BASELINE, CONTROL, StagedEvaluation, in_turn
from litestage.lit.kept import Kept
from litestage.lit.tune import FineTune
from litestage.metrics import score, tokens_per_question
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan

MakeTrainer = Callable[..., L.Trainer]


@dataclass(frozen=True)
class Call:
    """One call of the pipeline."""

    plan: Plan
    ids: tuple[str, ...]
    attempts: int | None
    seed: int


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    seen: list[Call] = []

    def spy(engine: Engine, questions: Any, plan: Plan, attempts: int | None = None, seed: int = 0) -> Any:
        seen.append(Call(plan, tuple(q.id for q in questions), attempts, seed))
        return run(engine, questions, plan, attempts, seed)

    monkeypatch.setattr(evaluation, "run", spy)
    return seen


@pytest.fixture
def engine(trained: FineTune) -> Engine:
    return trained.engine


def methods_of(engine: Engine) -> dict[str, Plan]:
    """Full depth twice, and a plan that skips and exits."""
    stages = {"recall": StagePlan((3,)), "analyze": StagePlan((0,), ExitRule(2, 0.6)), "summarize": StagePlan((1,))}
    plan = Plan(engine.name, engine.decoder.num_sublayers, stages)
    return {BASELINE: engine.full_depth(), CONTROL: engine.full_depth(), "litestage": plan}


@pytest.fixture
def evaluate(
    engine: Engine, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> Callable[..., StagedEvaluation]:
    """Run the evaluation of five questions in batches of two, two and one."""

    def evaluated(**settings: Any) -> StagedEvaluation:
        kept = settings.pop("kept", None)
        module = StagedEvaluation(engine, methods_of(engine), EvaluateSettings(**settings), 3, kept)
        trainer(tmp_path).test(module, data, verbose=False)
        return module

    return evaluated


def test_methods_have_exactly_the_fields_of_the_results_format(
    evaluate: Callable[..., StagedEvaluation], engine: Engine
) -> None:
    schema = json.loads(files("litestage.report").joinpath("schemas/results.schema.json").read_text())
    item = schema["properties"]["methods"]["items"]
    made = evaluate(attempts=2, repeats=2).methods()
    assert [method["name"] for method in made] == [BASELINE, CONTROL, "litestage"]
    for method in made:
        assert set(item["required"]) < set(method) == set(item["properties"])
    assert [method["exit"] for method in made] == [False, False, True]
    assert made[2]["budgets"] == {"recall": 1, "analyze": 1, "summarize": 1}
    assert made[2]["mean_full_layers"] == 0.5
    attention, ffn = (engine.decoder.parameters(sublayer) for sublayer in (0, 1))
    assert made[2]["skipped_sublayers"] == made[2]["budgets"]
    assert made[2]["skipped_parameters"] == {"recall": ffn, "analyze": attention, "summarize": ffn}
    assert made[0]["speedup"] == {"median": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("timed", [None, 3])
def test_greedy_answers_are_those_of_the_pipeline(
    evaluate: Callable[..., StagedEvaluation], engine: Engine, data: QuestionData, timed: int | None
) -> None:
    """Every question once, in order, though each is timed twice and a batch may be timed in part."""
    module = evaluate(attempts=1, repeats=2, timed_questions=timed)
    asked = data.splits.test
    assert module.questions == list(asked)
    assert module.timed == (timed or len(asked))
    for name, plan in methods_of(engine).items():
        mine = asked[:timed] if name == CONTROL else asked
        assert module.tallies[name].greedy == run(engine, mine, plan).attempts
    litestage, full = module.tallies["litestage"].greedy, module.tallies[BASELINE].greedy
    assert [a.outputs for a in litestage] != [a.outputs for a in full]


def test_one_attempt_reports_the_greedy_pass(
    evaluate: Callable[..., StagedEvaluation], engine: Engine, data: QuestionData, calls: list[Call]
) -> None:
    module = evaluate(attempts=1, repeats=1)
    assert {call.attempts for call in calls} == {None}
    full, *_ = module.methods()
    wanted = score(data.splits.test, run(engine, data.splits.test, engine.full_depth()).attempts)
    assert 0 < wanted.accuracy < 1
    assert full["accuracy"] == full["single_pass_accuracy"] == wanted.accuracy
    assert (full["n"], full["attempts"], full["unparsed_rate"]) == (5, 1, wanted.unparsed_rate)
    assert full["accuracy_stderr"] == wanted.stderr


def test_votes_are_seeded_and_the_control_shares_those_of_full_depth(
    evaluate: Callable[..., StagedEvaluation], engine: Engine, data: QuestionData, calls: list[Call]
) -> None:
    module = evaluate(attempts=3, repeats=1)
    sampled = [call for call in calls if call.attempts]
    assert {(call.attempts, call.seed) for call in sampled} == {(3, 3)}
    assert len(sampled) == 2 * 3  # two methods, three batches
    full, control, litestage = module.methods()
    for method, plan in ((full, engine.full_depth()), (litestage, methods_of(engine)["litestage"])):
        wanted = score(data.splits.test, run(engine, data.splits.test, plan, 3, 3).attempts)
        assert (method["accuracy"], method["n"], method["unparsed_rate"]) == (
            wanted.accuracy,
            5,
            wanted.unparsed_rate,
        )
    assert control["accuracy"] == full["accuracy"]
    assert module.tallies[CONTROL].sampled == []


def test_over_the_turns_every_method_is_in_every_place_and_follows_as_often_as_it_leads() -> None:
    for count in (3, 4, 11):
        names = [str(i) for i in range(count)]
        turns = [in_turn(names, number) for number in range(4 * count)]
        for place in range(count):
            assert Counter(turn[place] for turn in turns) == dict.fromkeys(names, 4)
        for a, b in combinations(names, 2):
            ahead = sum(turn.index(a) < turn.index(b) for turn in turns)
            assert ahead == 2 * count
        pairs = Counter(pair for turn in turns for pair in pairwise(turn))
        assert all(pairs[a, b] == pairs[b, a] for a, b in pairs)


def test_methods_take_turns_in_a_rotating_order(
    evaluate: Callable[..., StagedEvaluation], engine: Engine, calls: list[Call]
) -> None:
    """The plans tell the methods apart but for the control, which follows full depth in the cycle."""
    evaluate(attempts=1, repeats=3)
    litestage = methods_of(engine)["litestage"]
    warm_up, timed = calls[:3], calls[3:]
    assert [call.plan == litestage for call in warm_up] == [False, False, True]
    assert len(timed) == 3 * 3 * 3  # batches, repeats, methods
    order = "".join("L" if call.plan == litestage else "F" for call in timed)
    turns = ["FFL", "LFF", "FLF", "FLF", "LFF"]
    assert order == "".join(turns[batch + repeat] for batch in range(3) for repeat in range(3))


def test_only_some_questions_are_timed(
    evaluate: Callable[..., StagedEvaluation], engine: Engine, data: QuestionData, calls: list[Call]
) -> None:
    """Three of five: the first batch, half of the second; the rest is answered once, untimed."""
    module = evaluate(attempts=1, repeats=2, timed_questions=3)
    asked = [q.id for q in data.splits.test]
    litestage = methods_of(engine)["litestage"]
    mine = [call.ids for call in calls[3:] if call.plan == litestage]  # after the warm-up
    first, half, rest, last = tuple(asked[:2]), (asked[2],), (asked[3],), (asked[4],)
    assert mine == [first, first, half, rest, half, last]
    assert all(len(tally.seconds) == 2 and min(tally.seconds) > 0 for tally in module.tallies.values())
    method = module.methods()[2]
    attempts = run(engine, data.splits.test, litestage).attempts
    timed_tokens = sum(tokens_per_question(attempts[:3], engine.stage_names).values())
    assert method["tokens_per_question"] == tokens_per_question(attempts, engine.stage_names)
    assert method["ms_per_token"] == pytest.approx(1000 * method["seconds_per_question"] / timed_tokens)
    assert method["n"] == 5


def test_seconds_and_speedups_pair_the_repeats(engine: Engine, data: QuestionData) -> None:
    module = StagedEvaluation(engine, methods_of(engine), EvaluateSettings(attempts=1, repeats=3), seed=0)
    module.questions, module.timed = list(data.splits.test), 5
    for name, seconds in (
        (BASELINE, [10.0, 20.0, 30.0]),
        (CONTROL, [10.0, 25.0, 30.0]),
        ("litestage", [5.0, 5.0, 6.0]),
    ):
        tally = module.tallies[name]
        tally.seconds = seconds
        tally.greedy = run(engine, data.splits.test, tally.plan).attempts
    full, control, litestage = module.methods()
    assert full["seconds_per_question"] == 20.0 / 5
    assert control["speedup"] == pytest.approx({"median": 1.0, "low": 0.8, "high": 1.0})
    assert litestage["seconds_per_question"] == 5.0 / 5
    assert litestage["speedup"] == {"median": 4.0, "low": 2.0, "high": 5.0}


def test_a_stopped_evaluation_goes_on_behind_its_finished_batches(
    evaluate: Callable[..., StagedEvaluation],
    engine: Engine,
    data: QuestionData,
    calls: list[Call],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends in the second of three batches; two of five questions are timed in the first, one in the second."""
    settings = {"attempts": 2, "repeats": 2, "timed_questions": 3}
    spy, last = evaluation.run, data.splits.test[2].id

    def crashing(engine: Engine, questions: Any, *rest: Any) -> Any:
        if questions[0].id == last:
            raise KeyboardInterrupt
        return spy(engine, questions, *rest)

    monkeypatch.setattr(evaluation, "run", crashing)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        evaluate(**settings, kept=Kept(tmp_path, {"test": 1}))
    before = {id_ for call in calls for id_ in call.ids}
    assert before == {q.id for q in data.splits.test[:2]}
    calls.clear()
    monkeypatch.setattr(evaluation, "run", spy)
    kept = Kept(tmp_path, {"test": 1})
    with pytest.warns(UserWarning, match="stopped after 1 batches; going on"):
        module = evaluate(**settings, kept=kept)
    assert module.resumed
    assert before.isdisjoint(id_ for call in calls for id_ in call.ids)
    again = evaluate(**settings)
    assert not again.resumed
    timings = {"seconds_per_question", "ms_per_token", "speedup"}
    for mine, wanted in zip(module.methods(), again.methods(), strict=True):
        assert {k: v for k, v in mine.items() if k not in timings} == {
            k: v for k, v in wanted.items() if k not in timings
        }
        assert mine["seconds_per_question"] > 0
    assert (module.timed, module.questions) == (3, list(data.splits.test))
    texts = [[output.text for output in attempt.outputs] for attempt in module.tallies["litestage"].greedy]
    assert texts == [[output.text for output in a.outputs] for a in again.tallies["litestage"].greedy]
    assert len(list(tmp_path.glob("evaluate-*.jsonl"))) == 1
    kept.remove()
    assert list(tmp_path.glob("evaluate-*.jsonl")) == []


def test_seconds_of_kept_batches_count(evaluate: Callable[..., StagedEvaluation], tmp_path: Path) -> None:
    first = evaluate(attempts=1, repeats=2, kept=Kept(tmp_path, {}))
    with pytest.warns(UserWarning, match="after 3 batches"):
        second = evaluate(attempts=1, repeats=2, kept=Kept(tmp_path, {}))
    assert second.methods() == first.methods()

"""Outputs that are remembered against outputs that are made: the same attempts, and only new work is counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from litestage.config import StageSettings
from litestage.engine import Engine, encode
from litestage.model.decode import Generated
from litestage.pipeline import Result, run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Attempt, Question
from litestage.reuse import Reuse, key

STAGE = StageSettings("analyze", "{question}", max_new_tokens=8)


@pytest.fixture(params=["llama", "mistral"])
def model(request: pytest.FixtureRequest, make: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    """Mistral's window is shorter than the prompts that are held."""
    return make(request.param)


@pytest.fixture
def engine(engine: Engine, questions: list[Question]) -> Engine:
    """The model's favourite token ends an output, so that lengths differ."""
    reuse = Reuse()
    run(engine, questions, engine.full_depth(), reuse=reuse)
    said = Counter(t for o in reuse.outputs.values() for t in o.tokens[2:] if t < len(engine.tokenizer))
    engine.tokenizer.eos_token = engine.tokenizer.convert_ids_to_tokens(said.most_common(1)[0][0])
    return engine


def random_plan(engine: Engine, draw: random.Random, rule: ExitRule | None = None) -> Plan:
    skips = [tuple(draw.sample(range(6), draw.randint(0, 4))) for _ in engine.stage_names]
    rules = [rule if draw.random() < 0.7 else None for _ in engine.stage_names]
    prefill = [draw.random() < 0.3 for _ in engine.stage_names]
    parts = [StagePlan(*part) for part in zip(skips, rules, prefill, strict=True)]
    return Plan(engine.name, 6, dict(zip(engine.stage_names, parts, strict=True)))


def exiting(engine: Engine, plan: Plan, rule: ExitRule) -> Plan:
    """The same skip sets, with early exit in every stage."""
    return replace(plan, stages={name: replace(plan.stages[name], exit=rule) for name in engine.stage_names})


def work(result: Result) -> list[tuple[int, int, int, int]]:
    """Of every stage: calls and tokens of prefill, decode steps, generated tokens."""
    used = result.usage.values()
    return [(u.trace.prefill_calls, u.trace.prefill_tokens, u.trace.steps.total(), u.tokens) for u in used]


NOTHING = [(0, 0, 0, 0)] * 3


def test_reuse_changes_no_attempt(engine: Engine, questions: list[Question]) -> None:
    draw, reuse = random.Random(0), Reuse()
    for number in range(8):
        plan = random_plan(engine, draw, ExitRule(2, 0.1) if number % 2 else None)
        assert run(engine, questions, plan, reuse=reuse).attempts == run(engine, questions, plan).attempts


def test_questions_may_come_in_other_batches_and_orders(engine: Engine, questions: list[Question]) -> None:
    draw, reuse = random.Random(1), Reuse()
    plan = random_plan(engine, draw)
    want = {a.question_id: a for a in run(engine, questions, plan).attempts}
    some = draw.sample(questions, 2)
    assert run(engine, some, plan, reuse=reuse).attempts == [want[q.id] for q in some]
    mixed = draw.sample(questions, len(questions))
    result = run(engine, mixed, plan, reuse=reuse)
    assert result.attempts == [want[q.id] for q in mixed]
    made = sum(o.tokens for q in questions if q not in some for o in want[q.id].outputs)
    assert sum(tokens for *_, tokens in work(result)) == made


def thresholds(reuse: Reuse, window: int, count: int) -> list[float]:
    """Thresholds that are no mean of any window, or rounding would decide; each stops some outputs."""
    runs = [output.confidences for output in reuse.outputs.values()]
    means = sorted(sum(c[i : i + window]) / window for c in runs for i in range(len(c) - window + 1))
    between = [(a + b) / 2 for a, b in pairwise(means) if b - a > 1e-4]
    return between[:: max(1, len(between) // count)]


@pytest.mark.parametrize("window", [1, 2, 4])
def test_a_cut_output_is_what_the_exit_rule_would_have_left(
    engine: Engine, questions: list[Question], window: int
) -> None:
    """Attempt by attempt, wherever the rule stops a row; later stages read what was cut."""
    questions, stops = questions[:3], Counter[str]()
    for plan in (engine.full_depth(), random_plan(engine, random.Random(window))):
        reuse = Reuse()
        run(engine, questions, plan, reuse=reuse)
        for threshold in thresholds(reuse, window, 5):
            wanted = exiting(engine, plan, ExitRule(window, threshold))
            cut = run(engine, questions, wanted, reuse=reuse)
            assert cut.attempts == run(engine, questions, wanted).attempts
            assert work(cut)[0] == NOTHING[0]
            stops.update(o.stop for a in cut.attempts for o in a.outputs)
    assert {"eos", "confidence"} <= set(stops)


def test_a_rule_that_strikes_at_the_last_token_stops_at_the_cap_but_not_at_the_end(
    engine: Engine, questions: list[Question]
) -> None:
    reuse, plan, seen = Reuse(), engine.full_depth(), set()
    for question, attempt in zip(questions, run(engine, questions, plan, reuse=reuse).attempts, strict=True):
        for stage, output in zip(engine.reasoning.stages[:2], attempt.outputs, strict=False):
            whole = reuse.get(stage, StagePlan(), output.prompt)
            assert whole is not None
            rule = ExitRule(len(whole.tokens), sum(whole.confidences) / len(whole.tokens) + 1e-4)
            cut = reuse.get(stage, StagePlan(exit=rule), output.prompt)
            wanted = replace(plan, stages={**plan.stages, stage.name: StagePlan(exit=rule)})
            real = next(o for o in run(engine, [question], wanted).attempts[0].outputs if o.prompt == output.prompt)
            assert cut is not None
            assert (len(cut.tokens), cut.stop) == (real.tokens, real.stop) == (len(whole.tokens), real.stop)
            seen.add((whole.stop, cut.stop))
    assert seen == {("eos", "eos"), ("cap", "confidence")}


def test_an_output_without_confidences_is_never_cut() -> None:
    reuse, rule = Reuse(), ExitRule(1, 0.9)
    reuse.put(STAGE, StagePlan((1,)), "p", Generated([5, 6], "cap"))
    assert reuse.get(STAGE, StagePlan((1,)), "p") == Generated([5, 6], "cap")
    assert reuse.get(STAGE, StagePlan((1,), rule), "p") is None


@pytest.mark.parametrize(
    ("stop", "threshold", "want"),
    [
        ("cap", 0.1, Generated([5, 6, 7], "cap", [0.9, 0.4, 0.2])),
        ("cap", 0.3, Generated([5, 6, 7], "confidence", [0.9, 0.4, 0.2])),  # before the cap is looked at
        ("eos", 0.3, Generated([5, 6, 7], "eos", [0.9, 0.4, 0.2])),  # an end by itself goes first
        ("eos", 0.5, Generated([5, 6], "confidence", [0.9, 0.4])),
        ("eos", 1.0, Generated([5], "confidence", [0.9])),
    ],
)
def test_what_is_left_of_an_output(stop: str, threshold: float, want: Generated) -> None:
    reuse = Reuse()
    reuse.put(STAGE, StagePlan(), "p", Generated([5, 6, 7], stop, [0.9, 0.4, 0.2]))  # type: ignore[arg-type]
    assert reuse.get(STAGE, StagePlan(exit=ExitRule(1, threshold)), "p") == want


def test_a_rule_that_ran_answers_for_itself_only() -> None:
    reuse, short = Reuse(), Generated([5], "confidence", [0.3])
    reuse.put(STAGE, StagePlan(exit=ExitRule(1, 0.4)), "p", short)
    assert reuse.get(STAGE, StagePlan(exit=ExitRule(1, 0.4)), "p") is short
    assert reuse.get(STAGE, StagePlan(exit=ExitRule(1, 0.2)), "p") is None
    assert reuse.get(STAGE, StagePlan(), "p") is None


def test_usage_counts_new_work_only(engine: Engine, questions: list[Question]) -> None:
    questions, reuse, plan = questions[:3], Reuse(), engine.full_depth()
    first = run(engine, questions, plan, reuse=reuse)
    assert work(first) == work(run(engine, questions, plan))
    again = run(engine, questions, plan, reuse=reuse)
    assert work(again) == NOTHING
    assert again.attempts == first.attempts
    last = replace(plan, stages={**plan.stages, "summarize": StagePlan((1, 2))})
    other = run(engine, questions, last, reuse=reuse)
    assert work(other)[:2] == NOTHING[:2]
    assert work(other)[2][:2] == (0, 0)  # its prompts are held
    assert work(other)[2][3] == sum(a.outputs[-1].tokens for a in other.attempts) > 0


def test_plans_start_from_the_same_prefilled_prompts(engine: Engine, questions: list[Question]) -> None:
    questions, reuse = questions[:3], Reuse()
    run(engine, questions, engine.full_depth(), reuse=reuse)
    skipping = Plan(engine.name, 6, dict.fromkeys(engine.stage_names, StagePlan((0, 3))))
    alone, after = run(engine, questions, skipping), run(engine, questions, skipping, reuse=reuse)
    assert after.attempts == alone.attempts
    assert work(after)[0] == (0, 0, *work(alone)[0][2:])
    prefilled = [[tokens for _, tokens, *_ in work(result)] for result in (alone, after)]
    assert sum(prefilled[1]) <= sum(prefilled[0]) - prefilled[0][0]


def test_prompts_of_other_questions_are_let_go(engine: Engine, questions: list[Question]) -> None:
    reuse, plan = Reuse(), engine.full_depth()

    def prompts(attempts: list[Attempt], stage: str) -> set[tuple[int, ...]]:
        asked = [o.prompt for a in attempts for o in a.outputs if o.stage == stage]
        return {tuple(ids) for ids in encode(engine.tokenizer, asked)}

    for some in (questions[:2], questions[2:5]):
        attempts = run(engine, some, plan, reuse=reuse).attempts
        assert sorted(reuse.held) == [0, 1, 2]
        for index, held in reuse.held.items():
            assert set(held.place) == prompts(attempts, engine.stage_names[index])
    held = dict(reuse.held)
    run(engine, questions[2:5], plan, reuse=reuse)
    assert reuse.held == held
    reuse.turn_to(questions[4:1:-1])
    assert reuse.held == {}


def test_sampled_attempts_are_not_reused(engine: Engine, questions: list[Question]) -> None:
    with pytest.raises(ValueError, match="greedy passes only, not in 3 sampled attempts"):
        run(engine, questions, engine.full_depth(), attempts=3, reuse=Reuse())


def test_what_is_new_is_handed_out_once(engine: Engine, questions: list[Question]) -> None:
    reuse = Reuse()
    run(engine, questions[:1], engine.full_depth(), reuse=reuse)
    first = reuse.drain()
    assert first == reuse.outputs
    assert reuse.drain() == {}
    run(engine, questions, engine.full_depth(), reuse=reuse)
    assert first.keys().isdisjoint(reuse.drain())


def test_a_name_differs_in_all_that_an_output_depends_on() -> None:
    plan = StagePlan((1, 4), ExitRule(2, 0.5))
    names = {
        key(STAGE, plan, "p"),
        key(replace(STAGE, name="recall"), plan, "p"),
        key(replace(STAGE, max_new_tokens=9), plan, "p"),
        key(STAGE, replace(plan, skip=(1,)), "p"),
        key(STAGE, replace(plan, exit=None), "p"),
        key(STAGE, replace(plan, exit=ExitRule(3, 0.5)), "p"),
        key(STAGE, replace(plan, exit=ExitRule(2, 0.51)), "p"),
        key(STAGE, replace(plan, later=((1, (1, 2, 4)),)), "p"),
        key(STAGE, replace(plan, later=((2, (1, 2, 4)),)), "p"),
        key(STAGE, replace(plan, scale=((1, 1.5),)), "p"),
        key(STAGE, plan, "p "),
    }
    assert len(names) == 11


def test_a_name_depends_on_nothing_else() -> None:
    plan = StagePlan((1, 4))
    assert key(STAGE, plan, "p") == key(replace(STAGE, loss_weight=2.0, sampled=False), StagePlan((4, 1, 1)), "p")
    assert key(STAGE, plan, "p") == key(STAGE, plan, "p", own=3)  # matters only to who skips in prefill


def test_prompts_are_kept_as_far_as_memory_allows_and_are_not_prefilled_again(
    engine: Engine, questions: list[Question]
) -> None:
    full, other = engine.full_depth(), engine.full_depth()
    other.stages["summarize"] = StagePlan((0, 2))
    halves = (questions[:3], questions[3:])

    def ask(reuse: Reuse) -> tuple[list[Attempt], int]:
        for half in halves:
            run(engine, half, full, reuse=reuse)
        results = [run(engine, half, other, reuse=reuse) for half in halves]
        tokens = sum(u.trace.prefill_tokens for result in results for u in result.usage.values())
        return [attempt for result in results for attempt in result.attempts], tokens

    with_none, all_kept = Reuse(), Reuse(memory=1.0)
    expected, tokens = ask(with_none)
    assert not with_none.kept
    assert ask(all_kept) == (expected, len(questions))  # of every prompt its last token
    one = max(prompts.cache.bytes for prompts in all_kept.kept) / 2**30
    some = Reuse(memory=one)
    attempts, more = ask(some)
    assert attempts == expected
    assert len(questions) < more <= tokens
    assert 0 < sum(prompts.cache.bytes for prompts in some.kept) <= one * 2**30
    some.forget()
    assert not some.kept
    assert not some.held

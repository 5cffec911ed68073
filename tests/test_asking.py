"""What a stage asks, and skipping in prefill, against sequences computed one at a time from the model's own steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from litestage.asking import Slot, sequences
from litestage.engine import Engine, encode
from litestage.model.prefix import common
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Attempt, Question
from litestage.reuse import Reuse
from litestage.search.replay import replay, totals

NAMES = ("recall", "analyze", "summarize")
SOME = [(False, False, True), (False, True, False), (True, False, False), (False, True, True), (True, True, True)]
"""Which stages skip in prefill."""


def plan_of(engine: Engine, prefill: tuple[bool, ...], rule: ExitRule | None = None) -> Plan:
    skips = ((1, 4), (0, 3), (2, 5))
    parts = zip(NAMES, skips, prefill, strict=True)
    return Plan(engine.name, 6, {name: StagePlan(skip, rule, early) for name, skip, early in parts})


def alone(engine: Engine, ids: list[int], own: int, skip: tuple[int, ...], cap: int) -> list[int]:
    """One sequence: what lies before `own` at full depth, all the rest without `skip`."""
    decoder, cache = engine.decoder, engine.decoder.new_cache(1)
    with torch.inference_mode():
        if own:
            decoder.hidden(torch.tensor(ids[:own]), [own], cache)
        x = decoder.hidden(torch.tensor(ids[own:]), [len(ids) - own], cache, skip)
        made = [int(decoder.logits(x[-1:]).argmax())]
        while made[-1] not in engine.eos and len(made) < cap:
            x = decoder.hidden(torch.tensor(made[-1:]), [1], cache, skip)
            made.append(int(decoder.logits(x[-1:]).argmax()))
    return made


def check(engine: Engine, attempt: Attempt, plan: Plan) -> None:
    """Every output that skips in prefill is what it is alone."""
    asked: dict[str, list[list[int]]] = {}
    full: str | None = None
    for stage in engine.reasoning.stages:
        outputs = [o for o in attempt.outputs if o.stage == stage.name]
        asked[stage.name] = encode(engine.tokenizer, [o.prompt for o in outputs])
        part = plan.stages[stage.name]
        for output, ids in zip(outputs, asked[stage.name], strict=True):
            if part.prefill:
                own = max((common(ids, other) for other in asked[full]), default=0) if full else 0
                made = alone(engine, ids, min(own, len(ids) - 1), part.skip, stage.max_new_tokens)
                assert output.text == engine.tokenizer.decode(made, skip_special_tokens=True).strip()
                assert output.tokens == len(made)
        full = full if part.prefill else stage.name


@pytest.mark.parametrize("prefill", SOME)
def test_skipping_in_prefill_is_what_it_says(
    engine: Engine, questions: list[Question], prefill: tuple[bool, ...]
) -> None:
    plan = plan_of(engine, prefill)
    attempts = run(engine, questions, plan).attempts
    for attempt in attempts:
        check(engine, attempt, plan)
    plain = run(engine, questions, plan_of(engine, (False,) * 3)).attempts
    assert [a.outputs for a in attempts] != [a.outputs for a in plain]


@pytest.mark.parametrize("prefill", SOME)
def test_reuse_and_replay_know_of_it(engine: Engine, questions: list[Question], prefill: tuple[bool, ...]) -> None:
    plan, reuse = plan_of(engine, prefill), Reuse()
    result = run(engine, questions, plan)
    assert totals(replay(engine, result.attempts, plan, 3)) == {n: u.trace for n, u in result.usage.items()}
    for other in (plan_of(engine, (False,) * 3), plan, plan_of(engine, prefill, ExitRule(2, 0.3)), plan):
        again = run(engine, questions, other, reuse=reuse)
        assert again.attempts == run(engine, questions, other).attempts
    assert sum(usage.tokens for usage in again.usage.values()) == 0


def test_batches_change_nothing(engine: Engine, questions: list[Question]) -> None:
    plan = plan_of(engine, (False, True, True))
    one = replace(engine, reasoning=replace(engine.reasoning, batch_size=1))
    assert run(engine, questions, plan).attempts == run(one, questions, plan).attempts


def test_nothing_skipped_is_full_depth(engine: Engine, questions: list[Question]) -> None:
    empty = Plan(engine.name, 6, {name: StagePlan((), None, True) for name in NAMES})
    assert run(engine, questions, empty).attempts == run(engine, questions, engine.full_depth()).attempts


def test_the_own_part_begins_where_the_last_full_stage_ends(engine: Engine, questions: list[Question]) -> None:
    slot = Slot(questions[2], 0)
    plan = plan_of(engine, (False, True, False))
    (first,) = sequences(engine, [slot], 0, plan)
    slot.texts["recall"] = {"": "Wood floats."}
    options = sequences(engine, [slot], 1, plan)
    slot.texts["analyze"] = dict.fromkeys(questions[2].options, "It is a thing.")
    (last,) = sequences(engine, [slot], 2, plan)
    assert first.own == 0
    assert {ask.own for ask in options} == {common(first.ids, options[0].ids)}
    assert last.own == common(first.ids, last.ids) < common(options[0].ids, last.ids)

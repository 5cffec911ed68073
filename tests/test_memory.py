"""The stated size of keys and values, and what happens when they do not fit."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from litestage import pipeline
from litestage.config import StageSettings, three_stages
from litestage.engine import Engine, encode
from litestage.memory import CUE, GIB, question_tokens, questions_that_fit, ran_out, spare_tokens
from litestage.model import cache
from litestage.model.cache import KVCache
from litestage.pipeline import run
from litestage.records import Question
from litestage.text.stages import render


def test_one_stage_keeps_its_prompt_the_copy_of_it_and_the_new_tokens() -> None:
    [stage] = [StageSettings("answer", "{question}", max_new_tokens=30)]
    assert question_tokens([stage], prompt=100, options=4) == 100 + 100 + CUE + 30
    assert question_tokens([stage], prompt=100, options=4, attempts=10) == 10 * (200 + CUE + 30)


def test_a_stage_that_fans_out_keeps_its_prompt_once() -> None:
    stages = three_stages()
    few, many = (question_tokens(stages, prompt=100, options=n) for n in (4, 5))
    assert many - few < 3 * (100 + stages[0].max_new_tokens)  # not one more copy of the prompt per option and stage
    assert many > few


@pytest.mark.parametrize("spare", [0, 40, 100, 10_000])
def test_the_formula_bounds_what_is_held_at_any_moment(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    layout = engine.decoder.layout
    monkeypatch.setattr(cache, "SPARE", spare * layout.token_bytes // len(layout.layers))
    assert layout.spare == spare
    held: weakref.WeakSet[KVCache] = weakref.WeakSet()
    peaks: list[int] = []
    reserve = KVCache.reserve

    def spy(self: KVCache, columns: int) -> None:
        held.add(self)
        reserve(self, columns)
        every = {*held, *(cache.trunk for cache in held if cache.trunk)}
        peaks.append(sum(cache.rows * cache.used for cache in every))

    monkeypatch.setattr(KVCache, "reserve", spy)
    stages = engine.reasoning.stages
    beyond = 0
    for question in questions:
        peaks.clear()
        gc.collect()
        run(engine, [question], engine.full_depth())
        prompt = len(encode(engine.tokenizer, [render(question, stages, 0, {})[""]])[0])
        bound = question_tokens(stages, prompt, len(question.options))
        assert 0.2 * bound < max(peaks) <= bound + spare_tokens(layout)
        beyond += max(peaks) > bound
    if spare in (0, 10_000):  # between them it depends on the model's outputs
        assert bool(beyond) is (spare > 0)


def test_the_batch_is_as_large_as_memory_allows(engine: Engine, questions: list[Question]) -> None:
    tokens = questions_that_fit(1.0, GIB // 7)
    assert tokens == 7
    sized = replace(engine, reasoning=replace(engine.reasoning, batch_size=None, memory=0.01))
    fitting = sized.questions_at_once(questions)
    assert fitting >= 1
    assert sized.questions_at_once(questions, attempts=3) == pytest.approx(fitting / 3, abs=1)
    plenty = replace(engine, reasoning=replace(engine.reasoning, batch_size=None, memory=0.02))
    assert plenty.questions_at_once(questions) == pytest.approx(2 * fitting, abs=1)
    assert run(sized, questions, engine.full_depth()).attempts == run(engine, questions, engine.full_depth()).attempts


def test_memory_for_what_is_held_twice_is_set_aside(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    sized = replace(engine, reasoning=replace(engine.reasoning, batch_size=None, memory=0.01))
    fitting, layout = sized.questions_at_once(questions), engine.decoder.layout
    monkeypatch.setattr(cache, "SPARE", 2**16)
    assert questions_that_fit(1.0, GIB // 7, spare=GIB // 2) == 3
    part = spare_tokens(layout) * layout.token_bytes / (0.01 * GIB)
    assert sized.questions_at_once(questions) == pytest.approx((1 - part) * fitting, abs=1)
    with pytest.raises(ValueError, match=r"one question needs up to 0\.51 GiB"):
        questions_that_fit(0.5, GIB // 100, spare=GIB // 2)


def test_a_question_that_does_not_fit_is_refused_with_both_sizes(engine: Engine, questions: list[Question]) -> None:
    small = replace(engine, reasoning=replace(engine.reasoning, batch_size=None, memory=1e-6))
    with pytest.raises(ValueError, match=r"one question needs up to 0\.\d+ GiB .* reasoning\.memory is 1e-06 GiB"):
        run(small, questions, engine.full_depth())


def test_out_of_memory_halves_the_batch_and_loses_nothing(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    want = run(engine, questions, engine.full_depth())
    answer, asked = pipeline._answer, []

    def limited(engine: Engine, batch: list[Question], *rest: object) -> object:
        asked.append(len(batch))
        if len(batch) > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
        return answer(engine, batch, *rest)

    monkeypatch.setattr(pipeline, "_answer", limited)
    with pytest.warns(UserWarning, match="out of memory with 3 questions at a time; going on with 1"):
        got = run(engine, questions, engine.full_depth())
    assert got.attempts == want.attempts
    assert asked == [3, 1, 1, 1, 1, 1]
    for stage, usage in got.usage.items():
        assert usage.tokens == want.usage[stage].tokens


def test_other_errors_and_single_questions_are_not_retried(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(pipeline, "_answer", failing)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(engine, questions, engine.full_depth())
    assert not ran_out(RuntimeError("shapes differ"))
    assert ran_out(type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"))

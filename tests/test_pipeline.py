"""The stage loop against questions answered one prompt at a time, in fp32, for every architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from litestage import pipeline
from litestage.config import ReasoningSettings, StageSettings
from litestage.engine import Engine, encode
from litestage.model import prefix
from litestage.model.decode import Generated, Prompts, Rules, Trace, decode
from litestage.pipeline import Result, by_question, run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Attempt, Question, StageOutput
from litestage.seeding import uniforms
from litestage.text.stages import render

LOW = 0.08  # some outputs of the random models fall below this confidence

Alone = Callable[[list[int], StageSettings, Question, str], list[int]]
"""(prompt, stage, question, option label) -> new tokens, computed for this prompt only."""


# Sampling takes the token whose stretch of [0, 1) holds the draw. In fp32 the rounding of another batch shape moves the
# ends of the stretches by about 1e-7, so one token in ten thousand changes; the sampled tests run in fp64 instead.


def with_batch(engine: Engine, size: int) -> Engine:
    return replace(engine, reasoning=replace(engine.reasoning, batch_size=size))


def skipping(engine: Engine, exit_: ExitRule | None = None) -> Plan:
    skips = ((0, 3), (1, 2, 5), (4,))
    stages = {name: StagePlan(s, exit_) for name, s in zip(engine.stage_names, skips, strict=True)}
    return Plan(engine.name, engine.decoder.num_sublayers, stages)


def one_by_one(engine: Engine, question: Question, alone: Alone) -> list[tuple[StageOutput, list[int]]]:
    """Answer one question by an own loop over stages and prompts; the outputs with their tokens."""
    made: list[tuple[StageOutput, list[int]]] = []
    texts: dict[str, dict[str, str]] = {}
    for index, stage in enumerate(engine.reasoning.stages):
        texts[stage.name] = {}
        for label, prompt in render(question, engine.reasoning.stages, index, texts).items():
            tokens = alone(engine.tokenizer(prompt)["input_ids"], stage, question, label)
            text = engine.tokenizer.decode(tokens, skip_special_tokens=True).strip()
            texts[stage.name][label] = text
            made.append((StageOutput(stage.name, label, prompt, text, len(tokens), "cap"), tokens))
    return made


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Generated]:
    """Everything that `run` decodes, in order: texts alone could hide tokens that are no whole letters."""
    outputs: list[Generated] = []

    def spy(*args: Any) -> list[Generated]:
        made = decode(*args)
        outputs.extend(made)
        return made

    monkeypatch.setattr(pipeline, "decode", spy)
    return outputs


def assert_same(engine: Engine, questions: list[Question], result: Result, seen: list[Generated], alone: Alone) -> None:
    """Every output of a run equals what its prompt gives alone: prompts, texts and tokens."""
    want = [one_by_one(engine, question, alone) for question in questions]
    for attempt, outputs in zip(result.attempts, want, strict=True):
        assert [replace(o, stop="cap") for o in attempt.outputs] == [output for output, _ in outputs]
    tokens = [t for name in engine.stage_names for outputs in want for o, t in outputs if o.stage == name]
    assert [g.tokens for g in seen] == tokens


def test_the_empty_plan_equals_generate_one_prompt_at_a_time(
    engine: Engine, model: Any, questions: list[Question], seen: list[Generated]
) -> None:
    engine = with_batch(engine, len(questions))
    run(engine, questions[:1], engine.full_depth())
    engine.tokenizer.eos_token = engine.tokenizer.convert_ids_to_tokens(seen[0].tokens[3])  # an end that does come
    seen.clear()

    def generate(prompt: list[int], stage: StageSettings, *_: object) -> list[int]:
        ids = torch.tensor([prompt])
        options = {"max_new_tokens": stage.max_new_tokens, "do_sample": False, "eos_token_id": engine.eos[0]}
        return model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()

    result = run(engine, questions, engine.full_depth())
    assert_same(engine, questions, result, seen, generate)
    assert {o.stop for a in result.attempts for o in a.outputs} == {"eos", "cap"}
    assert [a.question_id for a in result.attempts] == [q.id for q in questions]


@pytest.mark.parametrize("rule", [None, ExitRule(2, LOW)])
def test_a_plan_with_skips_equals_a_naive_reference(
    engine: Engine, model: Any, questions: list[Question], seen: list[Generated], naive: Any, rule: ExitRule | None
) -> None:
    engine = with_batch(engine, len(questions))
    plan = skipping(engine, rule)

    def slowly(prompt: list[int], stage: StageSettings, *_: object) -> list[int]:
        return naive(model, prompt, set(plan.stages[stage.name].skip), stage.max_new_tokens, rule)

    result = run(engine, questions[:3], plan)
    assert_same(engine, questions[:3], result, seen, slowly)
    assert ("confidence" in {o.stop for a in result.attempts for o in a.outputs}) == (rule is not None)


def test_sampled_attempts_equal_single_prompts_with_their_own_draws(
    engine: Engine, model: Any, questions: list[Question]
) -> None:
    model.double()
    result = run(with_batch(engine, 100), questions[:2], engine.full_depth(), attempts=3, seed=7)
    for attempt in result.attempts:

        def sample(prompt: list[int], stage: StageSettings, question: Question, label: str) -> list[int]:
            ids = list(prompt)
            key = (7, question.id, attempt.number, stage.name, label)  # noqa: B023
            for draw in uniforms([key], stage.max_new_tokens)[0]:
                with torch.inference_mode():
                    logits = model(torch.tensor([ids])).logits[0, -1].float()
                ends = (logits / 0.7).softmax(-1).cumsum(-1)
                ids.append(int((ends <= draw * ends[-1]).sum() if stage.sampled else logits.argmax()))
                if ids[-1] in engine.eos:
                    break
            return ids[len(prompt) :]

        question = next(q for q in questions if q.id == attempt.question_id)
        want = [output for output, _ in one_by_one(engine, question, sample)]
        assert [replace(o, stop="cap") for o in attempt.outputs] == want


@pytest.mark.parametrize("attempts", [None, 3])
def test_neither_batch_size_nor_order_changes_an_attempt(
    engine: Engine, model: Any, questions: list[Question], attempts: int | None
) -> None:
    if attempts:
        model.double()
    plan = skipping(engine, ExitRule(3, LOW))
    single, pairs, all_ = (run(with_batch(engine, n), questions, plan, attempts, 1).attempts for n in (1, 2, 16))
    assert single == pairs == all_
    backwards = run(with_batch(engine, 16), questions[::-1], plan, attempts, 1).attempts
    assert [a for group in reversed(list(by_question(backwards))) for a in group[1]] == single


def test_the_seed_and_the_attempt_decide_what_is_sampled(engine: Engine, questions: list[Question]) -> None:
    plan = engine.full_depth()
    one, again, other = (run(engine, questions, plan, attempts=2, seed=seed).attempts for seed in (1, 1, 2))
    assert one == again
    assert one != other
    recalled = [[g.outputs[0].text for g in group] for _, group in by_question(one)]
    assert all(first != second for first, second in recalled)
    assert one[::2] != run(engine, questions, plan).attempts


def prefilled(result: Result) -> int:
    return sum(usage.trace.prefill_tokens for usage in result.usage.values())


@pytest.mark.parametrize("attempts", [None, 3])
def test_reusing_prefixes_changes_no_attempt_and_saves_most_of_the_prefill(
    engine: Engine, model: Any, questions: list[Question], monkeypatch: pytest.MonkeyPatch, attempts: int | None
) -> None:
    if attempts:
        model.double()
    engine = replace(engine, reasoning=replace(engine.reasoning, batch_size=16, temperature=0.06))
    shared = run(engine, questions, skipping(engine), attempts)
    outputs = [o for a in shared.attempts for o in a.outputs]
    assert prefilled(shared) < 0.5 * sum(map(len, encode(engine.tokenizer, [o.prompt for o in outputs])))
    monkeypatch.setattr(Prompts, "longest_prefix", lambda *_: None)
    monkeypatch.setattr(prefix, "WORTH", 10**9)
    fresh = run(engine, questions, skipping(engine), attempts)
    assert fresh.attempts == shared.attempts
    different = {o.prompt for o in outputs}
    assert attempts is None or len(different) < len(outputs) - 2 * len(questions)  # some attempts recall the same
    assert prefilled(fresh) == sum(map(len, encode(engine.tokenizer, list(different))))


def test_ten_attempts_prefill_the_question_once(engine: Engine, questions: list[Question]) -> None:
    result = run(with_batch(engine, 10), questions[2:3], engine.full_depth(), attempts=10)
    recall, analyze = (result.usage[name].trace for name in ("recall", "analyze"))
    prompt = encode(engine.tokenizer, [result.attempts[0].outputs[0].prompt])[0]
    assert (recall.prefill_calls, recall.prefill_tokens) == (1, len(prompt))
    prompts = {o.prompt for a in result.attempts for o in a.outputs if o.stage == "analyze"}
    beyond = [ids[len(prompt) :] for ids in encode(engine.tokenizer, sorted(prompts))]
    assert len(beyond) == 40
    assert analyze.prefill_tokens < 0.6 * sum(map(len, beyond))  # nothing of the question again


def test_usage_and_progress_add_up_over_batches(engine: Engine, questions: list[Question]) -> None:
    plan, done = engine.full_depth(), []
    whole = run(with_batch(engine, 16), questions, plan)
    parts = run(with_batch(engine, 2), questions, plan, progress=done.append)
    assert done == [2, 2, 1]
    for name in engine.stage_names:
        tokens = sum(o.tokens for a in whole.attempts for o in a.outputs if o.stage == name)
        assert whole.usage[name].tokens == parts.usage[name].tokens == tokens
        assert parts.usage[name].trace.prefill_calls > whole.usage[name].trace.prefill_calls
        assert whole.usage[name].seconds == whole.usage[name].prefill.seconds + whole.usage[name].decode.seconds


def test_no_questions_give_no_attempts(engine: Engine) -> None:
    assert run(engine, [], engine.full_depth()).attempts == []


def test_outputs_that_fill_the_context_cost_their_attempt_the_answer_only(
    engine: Engine, questions: list[Question]
) -> None:
    engine = with_batch(engine, 16)
    free = run(engine, questions, engine.full_depth())
    lengths = [len(ids) for ids in encode(engine.tokenizer, [a.outputs[-1].prompt for a in free.attempts])]
    context = engine.decoder.context = sorted(lengths)[2]  # the third longest summary has no room by one token
    tight = run(engine, questions, engine.full_depth())
    for before, after, length in zip(free.attempts, tight.attempts, lengths, strict=True):
        assert after.outputs[:-1] == before.outputs[:-1]
        last = after.outputs[-1]
        if length >= context:
            assert (last.text, last.tokens, last.stop, after.answer) == ("", 0, "no room", None)
        else:
            assert last.tokens == min(8, context - length)
    assert {a.outputs[-1].stop for a in tight.attempts} == {"cap", "no room"}


def test_a_stage_without_any_room_does_not_end_the_run(engine: Engine, questions: list[Question]) -> None:
    engine.decoder.context = 60  # the questions fit, nothing after them does
    for attempts in (None, 2):
        result = run(engine, questions, engine.full_depth(), attempts)
        assert {o.stop for a in result.attempts for o in a.outputs[1:]} == {"no room"}
        assert all(a.outputs[0].tokens > 0 and a.answer is None for a in result.attempts)
        assert result.usage["analyze"].trace.prefill_calls == result.usage["summarize"].tokens == 0


def test_a_question_that_is_too_long_is_refused_by_how_much(engine: Engine, questions: list[Question]) -> None:
    long = replace(questions[0], text="Which " * 400)
    length = len(encode(engine.tokenizer, [render(long, engine.reasoning.stages, 0, {})[""]])[0])
    with pytest.raises(ValueError, match=f"{length} tokens, {length - 255} too many for the model's context of 256"):
        run(engine, [long], engine.full_depth())


def test_a_plan_for_another_model_is_refused(engine: Engine, questions: list[Question]) -> None:
    with pytest.raises(ValueError, match=r"made for other \(6 sub-layers\) but the model is random"):
        run(engine, questions, replace(engine.full_depth(), model="other"))
    with pytest.raises(ValueError, match="the plan has stages"):
        run(engine, questions, Plan.full_depth("random", 6, ["recall"]))


@pytest.fixture
def script(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model is made to say, in order."""
    lines: list[str] = []

    def say(decoder: object, prompts: object, rows: Sequence[int], rules: Rules, trace: Trace) -> list[Generated]:
        spoken = [engine.tokenizer(lines.pop(0))["input_ids"] for _ in rows]
        return [Generated([*ids, *engine.eos], "eos") for ids in spoken]

    monkeypatch.setattr(pipeline, "decode", say)
    return lines


def test_stages_read_what_was_said_and_the_last_one_answers(
    engine: Engine, questions: list[Question], script: list[str]
) -> None:
    script += [" Wood floats. ", " it sinks", " it is wood.", " So the answer is option B."]
    [attempt] = run(engine, questions[:1], engine.full_depth()).attempts
    recall, first, second, last = attempt.outputs
    assert (recall.text, recall.tokens) == ("Wood floats.", len(engine.tokenizer(" Wood floats. ")["input_ids"]) + 1)
    assert (first.label, second.label) == ("A", "B")
    assert first.prompt.endswith("\nRecall: Wood floats.\nAnalyze: For option A,")
    assert last.prompt.endswith("Analyze: For option A, it sinks. For option B, it is wood.\nSummarize:")
    assert attempt.answer == "B"


# A full stop that was cut off is no loss; there is no option C.
@pytest.mark.parametrize(
    ("said", "answer"), [(" So the answer is option A", "A"), (" So the answer is option C.", None), ("", None)]
)
def test_the_answer_is_a_label_of_the_question_or_none(
    engine: Engine, questions: list[Question], script: list[str], said: str, answer: str | None
) -> None:
    script += ["Wood floats.", "it sinks.", "it floats.", said]
    assert run(engine, questions[:1], engine.full_depth()).attempts[0].answer == answer


def test_other_stages_are_another_list(engine: Engine, questions: list[Question], script: list[str]) -> None:
    stages = [StageSettings("think", "{question} {options} Think:"), StageSettings("say", "{think}", sampled=False)]
    other = replace(engine, reasoning=ReasoningSettings(stages=stages, answer_pattern=r"I say (\w)"))
    script += ["Hm.", "I say B"]
    [attempt] = run(other, questions[:1], other.full_depth()).attempts
    assert [o.prompt for o in attempt.outputs][1] == "Hm."
    assert attempt.answer == "B"


def test_attempts_are_grouped_by_question_in_order() -> None:
    attempts = [Attempt(id_, number, (), None) for number in (0, 1) for id_ in ("q2", "q1")]
    assert list(by_question(attempts)) == [("q2", attempts[::2]), ("q1", attempts[1::2])]

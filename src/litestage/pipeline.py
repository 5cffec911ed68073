"""The one path from questions to answers: stage after stage, each with its own skip set and exit rule.

Search, evaluation, notebooks and reports all call `run`.

    engine = Engine(Decoder(model), tokenizer, settings.reasoning)
    result = run(engine, questions, plan)
    result.attempts[0].answer
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litestage.config import ReasoningSettings, StageSettings
from litestage.memory import question_tokens, questions_that_fit, ran_out
from litestage.model.decode import Generated, Prompts, Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.plan import Plan
from litestage.records import Attempt, Question, StageOutput
from litestage.seeding import uniforms
from litestage.text.answers import parse
from litestage.text.stages import finish, render
from litestage.timing import Stopwatch, measure


@dataclass(frozen=True)
class Engine:
    """A model ready to reason: its sub-layers, its tokenizer, its stages."""

    decoder: Decoder
    tokenizer: Any
    reasoning: ReasoningSettings
    name: str = "model"
    """What a plan calls the model."""

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages in order."""
        return [stage.name for stage in self.reasoning.stages]

    @property
    def eos(self) -> tuple[int, ...]:
        """Token ids that end an output."""
        return (self.tokenizer.eos_token_id,)

    def questions_at_once(self, questions: Sequence[Question], attempts: int | None = None) -> int:
        """How many of the questions are answered together.

        Raises:
            ValueError: not one fits in `reasoning.memory`.
        """
        settings = self.reasoning
        if settings.batch_size is not None:
            return max(1, settings.batch_size // (attempts or 1))
        first = [text for q in questions for text in render(q, settings.stages, 0, {}).values()]
        prompt = max(map(len, encode(self.tokenizer, first)), default=1)
        options = max((len(q.options) for q in questions), default=1)
        tokens = question_tokens(settings.stages, prompt, options, attempts or 1)
        return questions_that_fit(settings.memory, tokens * self.decoder.layout.token_bytes)

    def full_depth(self) -> Plan:
        """The plan that skips nothing."""
        return Plan.full_depth(self.name, self.decoder.num_sublayers, self.stage_names)


@dataclass
class StageUsage:
    """Work and measured seconds of one stage, summed over questions."""

    trace: Trace = field(default_factory=Trace)
    prefill: Stopwatch = field(default_factory=Stopwatch)
    decode: Stopwatch = field(default_factory=Stopwatch)
    tokens: int = 0

    @property
    def seconds(self) -> float:
        """Measured seconds, prefill and decode."""
        return self.prefill.seconds + self.decode.seconds

    def add(self, other: StageUsage) -> None:
        """Add the usage of further questions."""
        self.trace.add(other.trace)
        self.prefill.seconds += other.prefill.seconds
        self.decode.seconds += other.decode.seconds
        self.tokens += other.tokens


@dataclass
class Result:
    """Attempts in the order of the questions (all attempts of a question in a row), and the usage per stage."""

    attempts: list[Attempt]
    usage: dict[str, StageUsage]


@dataclass
class _Slot:
    """One attempt in the making: its texts so far, and the rows of the last stage's prompts that belong to it."""

    question: Question
    number: int
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: list[StageOutput] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def run(
    engine: Engine,
    questions: Sequence[Question],
    plan: Plan,
    attempts: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Answer questions.

    Args:
        engine: model, tokenizer, stages.
        questions: any number; `reasoning.batch_size` of them run together, fewer when memory runs out.
        plan: skip set and exit rule of each stage.
        attempts: sampled passes per question (self-consistency); `None` is one greedy pass.
        seed: of the sampling; an answer depends on (seed, question, attempt, stage, option) alone.
        progress: called with the number of questions just answered.

    Raises:
        ValueError: the plan is for another model or other stages, or a prompt does not fit the context.
        RuntimeError: not even one question at a time fits the memory.
    """
    plan.check(engine.name, engine.decoder.num_sublayers, engine.stage_names)
    usage = {name: StageUsage() for name in engine.stage_names}
    done: list[Attempt] = []
    size = engine.questions_at_once(questions, attempts)
    start = 0
    while start < len(questions):
        batch = questions[start : start + size]
        try:
            answered = _answer(engine, batch, plan, attempts, seed)
        except RuntimeError as error:
            if not ran_out(error) or len(batch) == 1:
                raise
            size = len(batch) // 2
            warnings.warn(f"out of memory with {len(batch)} questions at a time; going on with {size}", stacklevel=2)
            continue
        done += answered.attempts
        for name, used in answered.usage.items():
            usage[name].add(used)
        start += len(batch)
        if progress:
            progress(len(batch))
    return Result(done, usage)


def _answer(engine: Engine, batch: Sequence[Question], plan: Plan, attempts: int | None, seed: int) -> Result:
    """All stages for one batch of questions."""
    slots = [_Slot(question, number) for question in batch for number in range(attempts or 1)]
    usage = {name: StageUsage() for name in engine.stage_names}
    prompts: Prompts | None = None
    for index, stage in enumerate(engine.reasoning.stages):
        sampled = attempts is not None and stage.sampled
        prompts = _run_stage(engine, slots, index, plan, usage[stage.name], prompts, seed if sampled else None)
    return Result([_finish(engine, slot) for slot in slots], usage)


@dataclass(frozen=True)
class _Ask:
    """One sequence of a stage."""

    slot: _Slot
    label: str
    prompt: str
    ids: tuple[int, ...]


def _run_stage(
    engine: Engine,
    slots: Sequence[_Slot],
    index: int,
    plan: Plan,
    usage: StageUsage,
    earlier: Prompts | None,
    seed: int | None,
) -> Prompts | None:
    """Run one stage for all slots; returns its prefilled prompts, which the next stage starts from."""
    stage = engine.reasoning.stages[index]
    asks = _asks(engine, slots, index)
    # Rambling outputs may outgrow the context: that costs the attempt its answer, never the run.
    fitting = [ask for ask in asks if index == 0 or len(ask.ids) < engine.decoder.context]
    prompts, rows, outputs = earlier, [], []
    if fitting:
        first = {ask.ids: ask for ask in reversed(fitting)}  # identical prompts are prefilled once
        place = {ids: row for row, ids in enumerate(first)}
        rows = [place[ask.ids] for ask in fitting]
        with measure(usage.prefill, engine.decoder.device):
            known = [earlier.longest_prefix(ids, ask.slot.rows) if earlier else None for ids, ask in first.items()]
            prompts = prefill(engine.decoder, list(first), usage.trace, known)
        with measure(usage.decode, engine.decoder.device):
            rules = _rules(engine, stage, plan, seed, fitting)
            outputs = decode(engine.decoder, prompts, rows, rules, usage.trace)
    made = {id(ask): (row, output) for ask, row, output in zip(fitting, rows, outputs, strict=True)}
    for slot in slots:
        slot.rows = []
    for ask in asks:
        row, output = made.get(id(ask), (None, Generated([], "no room")))
        text = engine.tokenizer.decode(output.tokens, skip_special_tokens=True).strip()
        ask.slot.texts.setdefault(stage.name, {})[ask.label] = text
        ask.slot.outputs.append(StageOutput(stage.name, ask.label, ask.prompt, text, len(output.tokens), output.stop))
        if row is not None:
            ask.slot.rows.append(row)
        usage.tokens += len(output.tokens)
    return prompts


def _asks(engine: Engine, slots: Sequence[_Slot], index: int) -> list[_Ask]:
    """The sequences of a stage, options of a slot in a row."""
    stages = engine.reasoning.stages
    wanted = [(slot, *pair) for slot in slots for pair in render(slot.question, stages, index, slot.texts).items()]
    ids = encode(engine.tokenizer, [prompt for *_, prompt in wanted])
    return [_Ask(*parts, tuple(tokens)) for parts, tokens in zip(wanted, ids, strict=True)]


def _rules(engine: Engine, stage: StageSettings, plan: Plan, seed: int | None, asks: Sequence[_Ask]) -> Rules:
    chosen = plan.stages[stage.name]
    rules = Rules(stage.max_new_tokens, engine.eos, frozenset(chosen.skip), chosen.exit, width=engine.reasoning.rows)
    if seed is None:
        return rules
    keys = [(seed, ask.slot.question.id, ask.slot.number, stage.name, ask.label) for ask in asks]
    draws = uniforms(keys, stage.max_new_tokens)
    return replace(rules, temperature=engine.reasoning.temperature, draws=draws)


def _finish(engine: Engine, slot: _Slot) -> Attempt:
    """Read the answer out of the last stage's output."""
    text = finish(slot.outputs[-1].text)
    answer = parse(text, engine.reasoning.answer_pattern, slot.question.options)
    return Attempt(slot.question.id, slot.number, tuple(slot.outputs), answer)


def encode(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, as the tokenizer itself would start a sequence."""
    return tokenizer(list(prompts), verbose=False)["input_ids"] if prompts else []


def by_question(attempts: Sequence[Attempt]) -> Iterator[tuple[str, list[Attempt]]]:
    """Group attempts by question, in order."""
    groups: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        groups[attempt.question_id].append(attempt)
    yield from groups.items()

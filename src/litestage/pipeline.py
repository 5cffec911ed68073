"""The one path from questions to answers: stage after stage, each with its own skip set and exit rule.

Search, evaluation, notebooks and reports all call `run`.

    engine = Engine(Decoder(model), tokenizer, settings.reasoning)
    result = run(engine, questions, plan)
    result.attempts[0].answer
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litestage.config import ReasoningSettings, StageSettings
from litestage.memory import question_tokens, questions_that_fit, ran_out
from litestage.model.cache import Prefix
from litestage.model.decode import Generated, Prompts, Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.plan import Plan
from litestage.records import Attempt, Question, StageOutput
from litestage.reuse import Reuse
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
    """One attempt in the making."""

    question: Question
    number: int
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: list[StageOutput] = field(default_factory=list)
    asked: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    """Stage number -> its prompts as token ids."""


def run(
    engine: Engine,
    questions: Sequence[Question],
    plan: Plan,
    attempts: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    reuse: Reuse | None = None,
) -> Result:
    """Answer questions.

    Args:
        engine: model, tokenizer, stages.
        questions: any number; `reasoning.batch_size` of them run together, fewer when memory runs out.
        plan: skip set and exit rule of each stage.
        attempts: sampled passes per question (self-consistency); `None` is one greedy pass.
        seed: of the sampling; an answer depends on (seed, question, attempt, stage, option) alone.
        progress: called with the number of questions just answered.
        reuse: outputs that are known already; the usage then counts only what was made anew. Greedy passes only.

    Raises:
        ValueError: the plan is for another model or other stages, a prompt does not fit the context, or sampled
            attempts were to be reused.
        RuntimeError: not even one question at a time fits the memory.
    """
    plan.check(engine.name, engine.decoder.num_sublayers, engine.stage_names)
    if reuse is not None and attempts is not None:
        raise ValueError(f"outputs are reused in greedy passes only, not in {attempts} sampled attempts")
    usage = {name: StageUsage() for name in engine.stage_names}
    done: list[Attempt] = []
    size = engine.questions_at_once(questions, attempts)
    start = 0
    while start < len(questions):
        batch = questions[start : start + size]
        try:
            answered = _answer(engine, batch, plan, attempts, seed, reuse)
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


def _answer(
    engine: Engine, batch: Sequence[Question], plan: Plan, attempts: int | None, seed: int, reuse: Reuse | None
) -> Result:
    """All stages for one batch of questions."""
    slots = [_Slot(question, number) for question in batch for number in range(attempts or 1)]
    usage = {name: StageUsage() for name in engine.stage_names}
    held: dict[int, Prompts] = {}
    if reuse is not None:
        reuse.turn_to(batch)
        held = reuse.held
    for index, stage in enumerate(engine.reasoning.stages):
        sampled = attempts is not None and stage.sampled
        _run_stage(engine, _asks(engine, slots, index), plan, usage[stage.name], held, seed if sampled else None, reuse)
        if reuse is None:
            held.pop(index - 1, None)
    return Result([_finish(engine, slot) for slot in slots], usage)


@dataclass(frozen=True)
class _Ask:
    """One sequence of a stage."""

    slot: _Slot
    index: int
    label: str
    prompt: str
    ids: tuple[int, ...]


def _run_stage(
    engine: Engine,
    asks: Sequence[_Ask],
    plan: Plan,
    usage: StageUsage,
    held: dict[int, Prompts],
    seed: int | None,
    reuse: Reuse | None,
) -> None:
    """Run one stage; its prefilled prompts are `held`, the next stage starts from them."""
    index = asks[0].index
    stage = engine.reasoning.stages[index]
    chosen = plan.stages[stage.name]
    outputs: dict[int, Generated] = {}
    for number, ask in enumerate(asks):
        # Rambling outputs may outgrow the context: that costs the attempt its answer, never the run.
        if index and len(ask.ids) >= engine.decoder.context:
            outputs[number] = Generated([], "no room")
        elif reuse is not None and (output := reuse.get(stage, chosen, ask.prompt)):
            outputs[number] = output
    rest = [number for number in range(len(asks)) if number not in outputs]
    if rest:
        todo = [asks[number] for number in rest]
        with measure(usage.prefill, engine.decoder.device):
            prompts = _prefilled(engine, todo, usage, held)
        with measure(usage.decode, engine.decoder.device):
            rules = replace(_rules(engine, stage, plan, seed, todo), confident=reuse is not None)
            made = decode(engine.decoder, prompts, [prompts.place[ask.ids] for ask in todo], rules, usage.trace)
        outputs |= zip(rest, made, strict=True)
        usage.tokens += sum(len(output.tokens) for output in made)
        for ask, output in zip(todo, made, strict=True):
            if reuse is not None:
                reuse.put(stage, chosen, ask.prompt, output)
    for number, ask in enumerate(asks):
        output = outputs[number]
        text = engine.tokenizer.decode(output.tokens, skip_special_tokens=True).strip()
        ask.slot.texts.setdefault(stage.name, {})[ask.label] = text
        ask.slot.outputs.append(StageOutput(stage.name, ask.label, ask.prompt, text, len(output.tokens), output.stop))


def _prefilled(engine: Engine, asks: Sequence[_Ask], usage: StageUsage, held: dict[int, Prompts]) -> Prompts:
    """The prompts of a stage, prefilled: identical ones once, and behind what is held of them already."""
    first = {ask.ids: ask for ask in reversed(asks)}
    index = asks[0].index
    if index not in held or not first.keys() <= held[index].place.keys():
        known = [_known(ask, held) for ask in first.values()]
        held[index] = prefill(engine.decoder, list(first), usage.trace, known)
    return held[index]


def _known(ask: _Ask, held: Mapping[int, Prompts]) -> Prefix | None:
    """The longest beginning of a prompt that is held, among the prompts of the same question and attempt."""
    found = [
        prompts.longest_prefix(ask.ids, [prompts.place[ids] for ids in ask.slot.asked[at] if ids in prompts.place])
        for at, prompts in held.items()
        if at in ask.slot.asked
    ]
    return max((prefix for prefix in found if prefix), key=lambda prefix: prefix.length, default=None)


def _asks(engine: Engine, slots: Sequence[_Slot], index: int) -> list[_Ask]:
    """The sequences of a stage, options of a slot in a row."""
    stages = engine.reasoning.stages
    wanted = [(slot, *pair) for slot in slots for pair in render(slot.question, stages, index, slot.texts).items()]
    ids = encode(engine.tokenizer, [prompt for *_, prompt in wanted])
    asks = [
        _Ask(slot, index, label, prompt, tuple(tokens))
        for (slot, label, prompt), tokens in zip(wanted, ids, strict=True)
    ]
    for ask in asks:
        ask.slot.asked.setdefault(index, []).append(ask.ids)
    return asks


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

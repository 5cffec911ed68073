"""The one path from questions to answers: stage after stage, each with its own skip set and exit rule.

Search, evaluation, notebooks and reports all call `run`.

    result = run(engine, questions, plan)
    result.attempts[0].answer
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from litestage.asking import Ask, Slot, prefilled, sequences
from litestage.config import StageSettings
from litestage.engine import Engine
from litestage.memory import ran_out
from litestage.model.decode import Generated, Prompts, Rules, Trace, decode
from litestage.plan import Plan
from litestage.records import Attempt, Question, StageOutput
from litestage.reuse import Reuse
from litestage.seeding import uniforms
from litestage.text.answers import parse
from litestage.text.stages import finish
from litestage.timing import Stopwatch, measure


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
            if reuse is not None:
                reuse.forget()
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
    slots = [Slot(question, number) for question in batch for number in range(attempts or 1)]
    usage = {name: StageUsage() for name in engine.stage_names}
    held: dict[int, Prompts] = {}
    if reuse is not None:
        reuse.turn_to(batch)
        held = reuse.held
    for index, stage in enumerate(engine.reasoning.stages):
        sampled = attempts is not None and stage.sampled
        asks = sequences(engine, slots, index, plan)
        _run_stage(engine, asks, plan, usage[stage.name], held, seed if sampled else None, reuse)
        if reuse is None and index in held:
            held = {index: held[index]}
    return Result([_finish(engine, slot) for slot in slots], usage)


def _run_stage(
    engine: Engine,
    asks: Sequence[Ask],
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
        elif reuse is not None and (output := reuse.get(stage, chosen, ask.prompt, ask.own)):
            outputs[number] = output
    rest = [number for number in range(len(asks)) if number not in outputs]
    if rest:
        todo = [asks[number] for number in rest]
        with measure(usage.prefill, engine.decoder.device):
            prompts = prefilled(engine, todo, chosen, usage.trace, held, reuse.kept if reuse else ())
        with measure(usage.decode, engine.decoder.device):
            rules = replace(_rules(engine, stage, plan, seed, todo), confident=reuse is not None)
            made = decode(engine.decoder, prompts, [prompts.place[ask.ids] for ask in todo], rules, usage.trace)
        outputs |= zip(rest, made, strict=True)
        usage.tokens += sum(len(output.tokens) for output in made)
        for ask, output in zip(todo, made, strict=True):
            if reuse is not None:
                reuse.put(stage, chosen, ask.prompt, output, ask.own)
    for number, ask in enumerate(asks):
        output = outputs[number]
        text = engine.tokenizer.decode(output.tokens, skip_special_tokens=True).strip()
        ask.slot.texts.setdefault(stage.name, {})[ask.label] = text
        ask.slot.outputs.append(StageOutput(stage.name, ask.label, ask.prompt, text, len(output.tokens), output.stop))


def _rules(engine: Engine, stage: StageSettings, plan: Plan, seed: int | None, asks: Sequence[Ask]) -> Rules:
    chosen = plan.stages[stage.name]
    rules = Rules(
        stage.max_new_tokens,
        engine.eos,
        frozenset(chosen.skip),
        chosen.exit,
        width=engine.reasoning.rows,
        later={step: frozenset(skip) for step, skip in chosen.later},
        scale=dict(chosen.scale),
    )
    if seed is None:
        return rules
    keys = [(seed, ask.slot.question.id, ask.slot.number, stage.name, ask.label) for ask in asks]
    draws = uniforms(keys, stage.max_new_tokens)
    return replace(rules, temperature=engine.reasoning.temperature, draws=draws)


def _finish(engine: Engine, slot: Slot) -> Attempt:
    """Read the answer out of the last stage's output."""
    text = finish(slot.outputs[-1].text)
    answer = parse(text, engine.reasoning.answer_pattern, slot.question.options)
    return Attempt(slot.question.id, slot.number, tuple(slot.outputs), answer)


def by_question(attempts: Sequence[Attempt]) -> Iterator[tuple[str, list[Attempt]]]:
    """Group attempts by question, in order."""
    groups: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        groups[attempt.question_id].append(attempt)
    yield from groups.items()

"""What a stage asks the model: one sequence a question, attempt and option, prefilled behind what is held already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from litestage.engine import Engine, encode
from litestage.model.cache import Prefix
from litestage.model.decode import Prompts, Trace, prefill
from litestage.model.prefix import common
from litestage.plan import Plan, StagePlan
from litestage.records import Question, StageOutput
from litestage.text.stages import render


@dataclass
class Slot:
    """One attempt in the making."""

    question: Question
    number: int
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: list[StageOutput] = field(default_factory=list)
    asked: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    """Stage number -> its prompts as token ids."""


@dataclass(frozen=True)
class Ask:
    """One sequence of a stage."""

    slot: Slot
    index: int
    label: str
    prompt: str
    ids: tuple[int, ...]
    own: int
    """Where the stage's own part of the prompt begins: what is before it, a stage has read at full depth."""


def sequences(engine: Engine, slots: Sequence[Slot], index: int, plan: Plan) -> list[Ask]:
    """The sequences of a stage, options of a slot in a row."""
    stages = engine.reasoning.stages
    wanted = [(slot, *pair) for slot in slots for pair in render(slot.question, stages, index, slot.texts).items()]
    ids = encode(engine.tokenizer, [prompt for *_, prompt in wanted])
    full = max((at for at in range(index) if not plan.stages[stages[at].name].prefill), default=-1)
    out = [
        Ask(slot, index, label, prompt, tuple(tokens), _longest(tokens, slot.asked.get(full, ())))
        for (slot, label, prompt), tokens in zip(wanted, ids, strict=True)
    ]
    for ask in out:
        ask.slot.asked.setdefault(index, []).append(ask.ids)
    return out


def prefilled(
    engine: Engine,
    asks: Sequence[Ask],
    chosen: StagePlan,
    trace: Trace,
    held: dict[int, Prompts],
    kept: Iterable[Prompts] = (),
) -> Prompts:
    """The prompts of a stage, prefilled: identical ones once, and behind what is held or kept of them already.

    What is there is at full depth. Prompts whose own part skips start behind the rest of them, and are not held.
    """
    first = {ask.ids: ask for ask in reversed(asks)}
    index, there = asks[0].index, [*held.values(), *kept]
    if chosen.prefill:
        before = _own_parts(engine, list(first.values()), trace, there)
        return prefill(engine.decoder, list(first), trace, before, chosen.skip)
    if index not in held or not first.keys() <= held[index].place.keys():
        held[index] = prefill(engine.decoder, list(first), trace, [_known(ask, there) for ask in first.values()])
    return held[index]


def _own_parts(engine: Engine, asks: Sequence[Ask], trace: Trace, there: Sequence[Prompts]) -> list[Prefix | None]:
    """For each prompt what its own part begins behind, at full depth; computed where it is not held."""
    known = [_known(ask, there) for ask in asks]
    short = {
        ask.ids[: ask.own]: prefix
        for ask, prefix in zip(asks, known, strict=True)
        if (prefix.length if prefix else 0) < ask.own
    }
    heads = prefill(engine.decoder, list(short), trace, list(short.values())) if short else None
    out: list[Prefix | None] = []
    for ask, prefix in zip(asks, known, strict=True):
        head = ask.ids[: ask.own]
        if heads and head in short:
            out.append(Prefix(heads.cache, heads.place[head], ask.own))
        else:
            out.append(Prefix(prefix.cache, prefix.row, ask.own) if prefix and ask.own else None)
    return out


def _known(ask: Ask, there: Sequence[Prompts]) -> Prefix | None:
    """The longest beginning of a prompt that is there already, whoever asked for it."""
    found = [prompts.longest_prefix(ask.ids) for prompts in there]
    return max((prefix for prefix in found if prefix), key=lambda prefix: prefix.length, default=None)


def _longest(ids: Sequence[int], others: Iterable[Sequence[int]]) -> int:
    """Tokens of the longest beginning shared with one of the others."""
    return max((common(ids, other) for other in others), default=0)

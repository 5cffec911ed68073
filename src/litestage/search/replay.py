"""The work that answers cost, counted from what they say: the same counts as running the pipeline again.

A search reuses what earlier plans generated, so what it ran says nothing about what a plan would cost. The outputs do:
prompts tell what is prefilled, lengths tell how the decode batches empty.

    works = replay(engine, result.attempts, plan, together=16)      # the work of `run` on these questions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litestage.engine import Engine, encode
from litestage.model.decode import Trace
from litestage.model.prefix import Beginnings, divide
from litestage.model.slots import decode_steps
from litestage.plan import Plan
from litestage.records import Attempt, StageOutput

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """One stage of one batch: what it computes, and each attempt's share of it by tokens."""

    trace: Trace
    prefill_share: Sequence[float]
    decode_share: Sequence[float]


def replay(engine: Engine, attempts: Sequence[Attempt], plan: Plan, together: int) -> list[dict[str, Work]]:
    """The work of greedy attempts, one a question, answered `together` at a time: stage -> work, batch by batch.

    Raises:
        ValueError: the skip set of a stage grows while it decodes: its steps differ in cost, work counts them alike.
    """
    growing = [name for name, stage in plan.stages.items() if stage.later]
    if growing:
        raise ValueError(
            f"the skip sets of {growing} grow while decoding; work is counted for plans with fixed sets only"
        )
    return [_batch(engine, attempts[start : start + together], plan) for start in range(0, len(attempts), together)]


def _batch(engine: Engine, attempts: Sequence[Attempt], plan: Plan) -> dict[str, Work]:
    out: dict[str, Work] = {}
    before = Beginnings([])
    for name in engine.stage_names:
        outputs = [[o for o in attempt.outputs if o.stage == name] for attempt in attempts]
        ids = _encoded(engine, outputs)
        fitting = [[(i, o) for i, o in zip(*pair, strict=True) if o.tokens] for pair in zip(ids, outputs, strict=True)]
        trace = Trace()
        prompts = list(dict.fromkeys(prompt for kept in fitting for prompt, _ in kept))
        if prompts:
            found = [before.longest(prompt) for prompt in prompts]
            levels, leaves = divide(prompts, [(row, length) if length else None for row, length in found])
            stretches = [s for level in (*levels, leaves) for s in level]
            trace.prefill_calls = len(levels) + 1
            trace.prefill_tokens = sum(s.end - s.start for s in stretches)
        trace.steps += decode_steps([o.tokens for kept in fitting for _, o in kept], engine.reasoning.rows)
        read = [sum(len(prompt) for prompt, _ in kept) for kept in fitting]
        made = [sum(o.tokens for _, o in kept) for kept in fitting]
        out[name] = Work(trace, _shares(read), _shares(made))
        if not plan.stages[name].prefill:  # what others start from is at full depth
            before = Beginnings(prompts)
    return out


def _encoded(engine: Engine, outputs: Sequence[Sequence[StageOutput]]) -> list[list[Ids]]:
    flat = iter(encode(engine.tokenizer, [o.prompt for row in outputs for o in row]))
    return [[tuple(next(flat)) for _ in row] for row in outputs]


def _shares(counts: Sequence[int]) -> list[float]:
    total: float = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def totals(batches: Sequence[Mapping[str, Work]]) -> dict[str, Trace]:
    """Stage -> the work of all batches."""
    out: dict[str, Trace] = {}
    for batch in batches:
        for name, work in batch.items():
            out.setdefault(name, Trace()).add(work.trace)
    return out

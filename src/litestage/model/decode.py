"""Prefill and decode: prompts become full-depth keys and values, then tokens, one step at a time.

Prompts are prefilled at full depth (unless a plan says otherwise), and no token is prefilled twice: shared beginnings
are computed once and forked. Decode steps skip sub-layers and exit early. Nothing decoded is kept: in the next stage's
prompt it is recomputed.

    prompts = prefill(decoder, token_lists, trace)
    outputs = decode(decoder, prompts, Rules(max_new_tokens=200, eos=(2,), skip={3, 8}), trace)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from litestage.model.cache import KVCache, Prefix, flatten
from litestage.model.choice import Choice
from litestage.model.exit import ExitWatch
from litestage.model.prefix import Beginnings, Stretch, divide
from litestage.model.slots import Slots
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.records import StopReason


@dataclass
class Trace:
    """Work done, counted: the cost model turns it into seconds."""

    prefill_calls: int = 0
    prefill_tokens: int = 0
    """Tokens computed."""
    steps: Counter[int] = field(default_factory=Counter)
    """Rows in the batch -> decode steps run with that many."""

    def add(self, other: Trace) -> None:
        """Add the work of another trace."""
        self.prefill_calls += other.prefill_calls
        self.prefill_tokens += other.prefill_tokens
        self.steps += other.steps


@dataclass(frozen=True)
class Prompts:
    """Prefilled prompts: row `i` of `cache` holds `ids[i]`.

    `last` `[B, C]` is the residual stream at the last token of each, which the first new token follows from.
    """

    ids: Sequence[Sequence[int]]
    cache: KVCache
    last: Tensor

    @cached_property
    def place(self) -> dict[tuple[int, ...], int]:
        """Prompt -> its row."""
        return {tuple(ids): row for row, ids in enumerate(self.ids)}

    def longest_prefix(self, ids: Sequence[int]) -> Prefix | None:
        """The longest beginning of `ids` that a row holds, or `None` when none shares anything."""
        row, length = self._beginnings.longest(ids)
        return Prefix(self.cache, row, length) if length else None

    @cached_property
    def _beginnings(self) -> Beginnings:
        return Beginnings(self.ids)


@dataclass(frozen=True)
class Rules:
    """How one stage decodes.

    `temperature` `None` is greedy; else tokens are drawn with the numbers `draws` `[B, max_new_tokens]` in [0, 1).
    At most `width` rows share a step; the others wait until some end. `confident` records every token's confidence.
    `later` maps a decode step to the skip set from that step on; sets only grow, since a skipped attention leaves gaps
    in its cache. `scale` maps a skipped sub-layer to the factor of its input.
    """

    max_new_tokens: int
    eos: tuple[int, ...]
    skip: frozenset[int] = frozenset()
    exit: ExitRule | None = None
    temperature: float | None = None
    draws: Tensor | None = None
    width: int = 128
    confident: bool = False
    later: Mapping[int, frozenset[int]] = field(default_factory=dict)
    scale: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """New tokens of one row (the end token included where it came) and why it stopped.

    `confidences` has one number a token where `Rules.confident` asked for them, rounded to six digits.
    """

    tokens: list[int]
    stop: StopReason
    confidences: list[float] = field(default_factory=list)


@torch.inference_mode()
def prefill(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    trace: Trace,
    known: Sequence[Prefix | None] | None = None,
    skip: Collection[int] = (),
) -> Prompts:
    """Compute keys, values and next-token logits of distinct prompts, shared beginnings once.

    Args:
        decoder: the model.
        prompts: token ids, each at least one token.
        trace: the work is added to it.
        known: for each prompt what an earlier call holds of it already.
        skip: sub-layers to leave out; none is full depth. Who decodes from it must skip the attentions among them too.

    Raises:
        ValueError: a prompt leaves no room for a new token in the model's context.
    """
    longest = max(len(p) for p in prompts)
    if longest >= decoder.context:
        over = longest - decoder.context + 1
        raise ValueError(
            f"a prompt has {longest} tokens, {over} too many for the model's context of {decoder.context} "
            "(one is needed for the output); shorten the question or the earlier stages' max_new_tokens"
        )
    known = known or [None] * len(prompts)
    levels, leaves = divide(prompts, [((id(k.cache), k.row), k.length) if k else None for k in known])
    done: dict[Stretch, Prefix] = {}

    def compute(stretches: Sequence[Stretch]) -> tuple[KVCache, Tensor]:
        before = []
        for s in stretches:
            held = done[s.parent] if s.parent else known[s.prompt]
            before.append(Prefix(held.cache, held.row, s.start) if held else None)
        tokens = [prompts[s.prompt][s.start : s.end] for s in stretches]
        cache, last = _extend(decoder, tokens, before, trace, skip)
        done.update({s: Prefix(cache, row, s.end) for row, s in enumerate(stretches)})
        return cache, last

    for level in levels:
        compute(level)
    cache, last = compute(leaves)
    return Prompts(prompts, cache, last)


def _extend(
    decoder: Decoder,
    tokens: Sequence[Sequence[int]],
    before: Sequence[Prefix | None],
    trace: Trace,
    skip: Collection[int],
) -> tuple[KVCache, Tensor]:
    """Compute `tokens` behind `before`, in rows that share what they begin with; return also the last `[B, C]`."""
    counts = [len(t) for t in tokens]
    cache = _behind(decoder, before, max(counts))
    ids = torch.tensor([token for row in tokens for token in row], device=decoder.device)
    trace.prefill_calls += 1
    trace.prefill_tokens += len(ids)
    x = decoder.hidden(ids, counts, cache, skip)
    return cache, x[torch.tensor(counts, device=decoder.device).cumsum(0) - 1]


def _behind(decoder: Decoder, before: Sequence[Prefix | None], room: int) -> KVCache:
    """Rows that begin with `before`; what several begin with lies once in their trunk, unless it is short."""
    distinct = {(id(p.cache), p.row, p.length) if p else None: p for p in before}
    if decoder.layout.affords([p.length for p in before if p], [p.length for p in distinct.values() if p]):
        return flatten(decoder.layout, before, room)
    place = {key: row for row, key in enumerate(distinct)}
    family = [place[(id(p.cache), p.row, p.length) if p else None] for p in before]
    trunk = flatten(decoder.layout, list(distinct.values()))
    return KVCache(decoder.layout, len(before), room, trunk, family)


@torch.inference_mode()
def decode(decoder: Decoder, prompts: Prompts, rows: Sequence[int], rules: Rules, trace: Trace) -> list[Generated]:
    """Generate from prefilled prompts; rows that end leave the batch, waiting ones take their places.

    Prefill gives an output's token 0; decode step c, from 0, reads token c and gives token c + 1. Where the skip set
    depends on the step (`rules.later`), groups of `rules.width` outputs start together and nobody enters in between.

    Args:
        decoder: the model.
        prompts: what `prefill` returned; left as it is.
        rows: which prompt each output starts from; a prompt may be forked many times.
        rules: skip set, exit rule, sampling, cap.
        trace: the steps are added to it.

    Returns:
        One `Generated` per entry of `rows`.
    """
    made: list[Generated] = []
    size = rules.width if rules.later else max(1, len(rows))
    for start in range(0, len(rows), size):
        group = slice(start, start + size)
        draws = None if rules.draws is None else rules.draws[group]
        made += _decode(decoder, prompts, rows[group], replace(rules, draws=draws), trace)
    return made


def _decode(decoder: Decoder, prompts: Prompts, rows: Sequence[int], rules: Rules, trace: Trace) -> list[Generated]:
    """`decode`, as one batch that is refilled; with `rules.later` all rows must fit in it at once."""
    device, total = decoder.device, len(rows)
    source, sources = _starts(decoder, prompts, rows)
    layout = decoder.layout.without([j // 2 for j in rules.skip if j % 2 == 0])
    slots = Slots(source, sources, layout, rules.width)
    width = len(slots.outputs)
    # One more than there are outputs: what free slots compute goes nowhere.
    origin = torch.tensor([*rows, 0], device=device)
    room = [decoder.context - len(prompts.ids[row]) for row in rows]
    limits = torch.tensor([*(min(rules.max_new_tokens, r) for r in room), 0], device=device)
    eos = torch.tensor(rules.eos, device=device)
    confident = rules.confident or rules.exit is not None
    choose = Choice(decoder, (total, rules.max_new_tokens), rules.temperature, rules.draws, confident)
    watch = ExitWatch(rules.exit, width, device) if rules.exit else None
    x = torch.zeros(width, prompts.last.shape[1], dtype=decoder.dtype, device=device)
    ends: dict[int, tuple[int, StopReason]] = {}
    skip = rules.skip
    for step in itertools.count():
        new = slots.refill()
        if new is not None:
            x[new] = prompts.last[origin[slots.index[new]]]
            if watch:
                watch.restart(new)
        token = choose(x, slots.index, slots.steps)
        ending = torch.where(limits[slots.index] <= slots.steps + slots.working, 3, 0)
        if watch:
            ending = torch.where(watch.update(choose.confidences[slots.index, slots.steps]), 2, ending)
        slots.steps += slots.working
        ending = torch.where(torch.isin(token, eos), 1, ending)
        reasons, counts, numbers = torch.stack((ending, slots.steps, slots.index)).tolist()
        ended = [slot for slot in slots.busy if reasons[slot]]
        ends |= {numbers[slot]: (counts[slot], _REASONS[reasons[slot] - 1]) for slot in ended}
        if ended:
            slots.end(ended)
            if slots.done:
                break
            kept = slots.shrink()
            if kept is not None:
                token = token[kept]
                if watch:
                    watch.keep(kept)
        skip = rules.later.get(step, skip)
        x = decoder.hidden(token, None, slots.cache, skip, scale=rules.scale)
        trace.steps[len(slots.outputs)] += 1
    made = choose.tokens.tolist()
    levels = choose.confidences.double().round(decimals=6).tolist() if rules.confident else [[]] * total
    return [Generated(made[i][:count], why, levels[i][:count]) for i, (count, why) in sorted(ends.items())]


def _starts(decoder: Decoder, prompts: Prompts, rows: Sequence[int]) -> tuple[KVCache, list[int]]:
    """A cache to start from and each output's row in it: outputs of a long prompt share it as their trunk."""
    distinct = list(dict.fromkeys(rows))
    if decoder.layout.affords(*([len(prompts.ids[row]) for row in some] for some in (rows, distinct))):
        return prompts.cache, list(rows)
    trunk = flatten(decoder.layout, [Prefix(prompts.cache, row, len(prompts.ids[row])) for row in distinct])
    forks = KVCache(decoder.layout, len(distinct), 0, trunk, range(len(distinct)))
    place = {row: i for i, row in enumerate(distinct)}
    return forks, [place[row] for row in rows]


_REASONS: tuple[StopReason, ...] = ("eos", "confidence", "cap")

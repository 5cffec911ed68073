"""Prefill and decode: prompts become full-depth keys and values, then tokens, one step at a time.

Prompts are always prefilled at full depth, and no token is prefilled twice: shared beginnings are computed once and
forked. Only decode steps skip sub-layers and exit early. Nothing decoded is kept: in the next stage's prompt it is
recomputed at full depth.

    prompts = prefill(decoder, token_lists, trace)
    outputs = decode(decoder, prompts, Rules(max_new_tokens=200, eos=(2,), skip={3, 8}), trace)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from litestage.model.cache import KVCache, Prefix
from litestage.model.exit import ExitWatch
from litestage.model.prefix import Stretch, common, tree
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.records import StopReason


@dataclass
class Trace:
    """Work done, counted: the cost model turns it into seconds."""

    prefill_calls: int = 0
    prefill_tokens: int = 0
    """Tokens really computed, padding excluded."""
    prefill_slots: int = 0
    """Tokens computed, padding included."""
    steps: Counter[int] = field(default_factory=Counter)
    """Rows in the batch -> decode steps run with that many."""


@dataclass(frozen=True)
class Prompts:
    """Prefilled prompts: row `i` of `cache` holds `ids[i]` at full depth, `logits[i]` `[V]` follows its last token."""

    ids: Sequence[Sequence[int]]
    cache: KVCache
    logits: Tensor

    def longest_prefix(self, ids: Sequence[int], rows: Collection[int]) -> Prefix | None:
        """The longest beginning of `ids` that one of `rows` holds, or `None` when they share nothing."""
        length, row = max(((common(ids, self.ids[r]), r) for r in rows), default=(0, 0))
        return Prefix(self.cache, row, length) if length else None


@dataclass(frozen=True)
class Rules:
    """How one stage decodes.

    `temperature` `None` is greedy; else tokens are drawn with the numbers `draws` `[B, max_new_tokens]` in [0, 1).
    """

    max_new_tokens: int
    eos: tuple[int, ...]
    skip: frozenset[int] = frozenset()
    exit: ExitRule | None = None
    temperature: float | None = None
    draws: Tensor | None = None


@dataclass(frozen=True)
class Generated:
    """New tokens of one row (the end token included where it came) and why it stopped."""

    tokens: list[int]
    stop: StopReason


@torch.inference_mode()
def prefill(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    trace: Trace,
    known: Sequence[Prefix | None] | None = None,
) -> Prompts:
    """Compute keys, values and next-token logits of distinct prompts at full depth, shared beginnings once.

    Args:
        decoder: the model.
        prompts: token ids, each at least one token.
        trace: the work is added to it.
        known: for each prompt what an earlier call holds of it already.

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
    # The last token is always computed: its logits are needed.
    known = known or [None] * len(prompts)
    starts = [min(k.length, len(p) - 1) if k else 0 for k, p in zip(known, prompts, strict=True)]
    families: dict[tuple[int, int, int], list[int]] = {}
    for i, (k, start) in enumerate(zip(known, starts, strict=True)):
        families.setdefault((id(k.cache), k.row, start) if k else (0, 0, 0), []).append(i)
    levels, leaves = tree(prompts, [(starts[members[0]], *members) for members in families.values()])

    done: dict[Stretch, Prefix] = {}

    def compute(stretches: Sequence[Stretch]) -> tuple[KVCache, Tensor]:
        before = []
        for s in stretches:
            held = done[s.parent] if s.parent else known[s.prompt]
            before.append(Prefix(held.cache, held.row, s.start) if held else None)
        cache, logits = _extend(decoder, [prompts[s.prompt][s.start : s.end] for s in stretches], before, trace)
        done.update({s: Prefix(cache, row, s.end) for row, s in enumerate(stretches)})
        return cache, logits

    for level in levels:
        compute(level)
    cache, logits = compute(leaves)
    return Prompts(prompts, cache, logits)


def _extend(
    decoder: Decoder, tokens: Sequence[Sequence[int]], before: Sequence[Prefix | None], trace: Trace
) -> tuple[KVCache, Tensor]:
    """Append `tokens` to forks of `before`, padded on the left; return the cache and the last logits `[B, V]`."""
    width = max(len(t) for t in tokens)
    empty = decoder.new_cache(0)
    cache = next((p.cache for p in before if p), empty).fork(before, room=width)
    ids = torch.zeros(len(tokens), width, dtype=torch.long)
    positions = torch.full((len(tokens), width), -1, dtype=torch.long)
    for row, (new, prefix) in enumerate(zip(tokens, before, strict=True)):
        start = prefix.length if prefix else 0
        ids[row, width - len(new) :] = torch.tensor(new)
        positions[row, width - len(new) :] = torch.arange(start, start + len(new))
    trace.prefill_calls += 1
    trace.prefill_tokens += sum(len(t) for t in tokens)
    trace.prefill_slots += ids.numel()
    x = decoder.hidden(ids.to(decoder.device), positions.to(decoder.device), cache)
    return cache, decoder.logits(x[:, -1])


@torch.inference_mode()
def decode(decoder: Decoder, prompts: Prompts, rows: Sequence[int], rules: Rules, trace: Trace) -> list[Generated]:
    """Generate from prefilled prompts, all rows at once; rows that end leave the batch.

    Args:
        decoder: the model.
        prompts: what `prefill` returned; left as it is.
        rows: which prompt each output starts from; a prompt may be forked many times.
        rules: skip set, exit rule, sampling, cap.
        trace: the steps are added to it.

    Returns:
        One `Generated` per entry of `rows`.
    """
    device = decoder.device
    alive = torch.arange(len(rows), device=device)
    position = torch.tensor([len(prompts.ids[r]) for r in rows], device=device)
    limit = (decoder.context - position).clamp(max=rules.max_new_tokens)
    cache = prompts.cache.fork([Prefix(prompts.cache, r, len(prompts.ids[r])) for r in rows], room=32)
    logits = prompts.logits[torch.tensor(rows, device=device)]
    draws = None if rules.draws is None else rules.draws.to(device)
    watch = ExitWatch(rules.exit, len(rows), device) if rules.exit else None
    eos = torch.tensor(rules.eos, device=device)
    out = torch.zeros(len(rows), rules.max_new_tokens, dtype=torch.long, device=device)
    count = torch.zeros(len(rows), dtype=torch.long, device=device)
    stops = torch.zeros(len(rows), dtype=torch.long, device=device)  # 0: running, else 1 + index into _REASONS
    step = 0
    while True:
        token = _choose(logits, rules, draws[alive, step] if draws is not None else None)
        out[alive, step] = token
        faded = watch.update(logits) if watch else torch.zeros_like(token, dtype=torch.bool)
        step += 1
        ending = torch.where(limit[alive] <= step, 3, 0)
        ending = torch.where(faded, 2, ending)
        ending = torch.where(torch.isin(token, eos), 1, ending)
        ending = torch.where(stops[alive] > 0, 0, ending)  # rows that ended before wait for the next compaction
        stops[alive] += ending
        count[alive] += torch.where(ending > 0, step, 0)
        running = stops[alive] == 0
        left = int(running.sum())
        if not left:
            break
        if left <= 0.75 * len(alive):
            keep = running.nonzero().squeeze(1)
            cache = cache.select(keep)
            alive, token = alive[keep], token[keep]
            if watch:
                watch.keep(keep)
        x = decoder.hidden(token[:, None], (position[alive] + step - 1)[:, None], cache, rules.skip)
        logits = decoder.logits(x[:, -1])
        trace.steps[len(alive)] += 1
    tokens, counts, reasons = out.tolist(), count.tolist(), stops.tolist()
    return [Generated(t[:n], _REASONS[r - 1]) for t, n, r in zip(tokens, counts, reasons, strict=True)]


_REASONS: tuple[StopReason, ...] = ("eos", "confidence", "cap")


def _choose(logits: Tensor, rules: Rules, draw: Tensor | None) -> Tensor:
    """The next token of each row `[B]`: the likeliest, or the one whose cumulative probability passes `draw`."""
    if rules.temperature is None or draw is None:
        return logits.argmax(-1)
    cumulative = (logits / rules.temperature).softmax(-1).cumsum(-1)
    passed = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)
    return passed.squeeze(1).clamp(max=logits.shape[1] - 1)

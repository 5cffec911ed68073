"""The rows of a decode batch: which output each works on, who enters when others end, when the batch shrinks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import torch
from torch import Tensor

from litestage.model.cache import KVCache, Layout

REFILL = 1 / 8
"""Waiting outputs enter when this share of the slots is free."""
SHRINK = 3 / 4
"""With none waiting, the batch shrinks to its live rows when they are at most this share."""


class Slots:
    """Up to `width` rows, each at its own step of its own output.

    Args:
        source: cache that the outputs start from; its trunk is shared.
        sources: for each output the row of `source`.
        layout: what is kept of new tokens.
        width: rows of the batch at most.
    """

    def __init__(self, source: KVCache, sources: Sequence[int], layout: Layout, width: int) -> None:
        self.source, self.sources = source, sources
        self.waiting = deque(range(len(sources)))
        self.outputs: list[int | None] = [None] * min(width, len(sources))
        """Output of each slot; `None` for a free one."""
        size = len(self.outputs)
        family = [source.family[sources[0]]] * size if source.trunk else []
        self.cache = KVCache(layout, size, source.used + 32, source.trunk, family)
        self.steps = torch.zeros(size, dtype=torch.long, device=layout.device)
        """Tokens made so far, `[W]`."""
        self.index = torch.zeros(size, dtype=torch.long, device=layout.device)
        """Output of each slot, `[W]`; free slots point behind the last output."""
        self.working = torch.zeros(size, dtype=torch.long, device=layout.device)
        """1 for a slot that works on something, 0 for a free one, `[W]`: added to `steps` after a step."""

    @property
    def busy(self) -> list[int]:
        """Slots that work on something."""
        return [slot for slot, output in enumerate(self.outputs) if output is not None]

    @property
    def done(self) -> bool:
        """Whether every output has ended."""
        return not self.waiting and not self.busy

    def refill(self) -> Tensor | None:
        """Give free slots to waiting outputs; return those slots, or `None` when it is not worth it yet."""
        free = [slot for slot, output in enumerate(self.outputs) if output is None][: len(self.waiting)]
        if _too_few(len(free), len(self.outputs), len(self.waiting)):
            return None
        new = [self.waiting.popleft() for _ in free]
        self.cache.place(free, self.source, [self.sources[output] for output in new])
        for slot, output in zip(free, new, strict=True):
            self.outputs[slot] = output
        slots = torch.tensor(free, device=self.steps.device)
        self.steps[slots] = 0
        self._renumber()
        return slots

    def end(self, slots: Sequence[int]) -> None:
        """Free some slots. Until they are filled again they compute along, for nobody, from an empty row."""
        for slot in slots:
            self.outputs[slot] = None
        at = torch.tensor(slots, device=self.steps.device)
        self.cache.lengths[at] = 0
        self.steps[at] = 0
        self._renumber()

    def shrink(self) -> Tensor | None:
        """Drop free slots when none waits for them and that saves enough; return the slots kept, or `None`."""
        busy = self.busy
        if self.waiting or len(busy) > SHRINK * len(self.outputs):
            return None
        self.cache = self.cache.select(busy)
        kept = torch.tensor(busy, device=self.steps.device)
        self.outputs, self.steps = [self.outputs[slot] for slot in busy], self.steps[kept]
        self._renumber()
        return kept

    def _renumber(self) -> None:
        behind = len(self.sources)
        numbers = [behind if output is None else output for output in self.outputs]
        self.index = torch.tensor(numbers, device=self.steps.device)
        self.working = (self.index < behind).long()


def decode_steps(lengths: Sequence[int], width: int) -> Counter[int]:
    """Rows in the batch -> decode steps with that many, for outputs of so many tokens: what `Slots` lead to."""
    waiting, steps = deque(lengths), Counter[int]()
    slots = [0] * min(width, len(lengths))  # tokens each slot has still to make
    while waiting or any(slots):
        free = [slot for slot, left in enumerate(slots) if not left][: len(waiting)]
        if not _too_few(len(free), len(slots), len(waiting)):
            for slot in free:
                slots[slot] = waiting.popleft()
        until = min(left for left in slots if left)
        steps[len(slots)] += until - 1
        slots = [max(0, left - until) for left in slots]
        if not waiting and not any(slots):
            break
        busy = [left for left in slots if left]
        if not waiting and len(busy) <= SHRINK * len(slots):
            slots = busy
        steps[len(slots)] += 1
    return +steps


def _too_few(free: int, slots: int, waiting: int) -> bool:
    """Whether filling so many free slots is not worth it yet."""
    return not free or (free < REFILL * slots and free < waiting)

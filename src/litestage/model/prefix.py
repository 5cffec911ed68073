"""Which tokens of a batch of prompts must be computed: every shared beginning only once.

Prompts form a radix tree. A node is a stretch of tokens shared by the prompts below it; a leaf ends one prompt. What
an earlier batch has already computed of a prompt is not in the tree at all.

    levels, leaves = tree(prompts, starts)     # prefill the levels in order, then all leaves in one batch
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

WORTH = 16
"""A shared stretch becomes a node of its own when that saves at least this many tokens."""


@dataclass(frozen=True)
class Stretch:
    """Tokens `start` to `end` (exclusive) of prompt `prompt`; `parent` computed what comes before `start`."""

    prompt: int
    start: int
    end: int
    parent: Stretch | None = None


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning of two token lists."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


class Beginnings:
    """Finds who begins like a prompt for longest, among prompts that are there already."""

    def __init__(self, prompts: Iterable[Sequence[int]]) -> None:
        self._sorted = sorted((tuple(ids), row) for row, ids in enumerate(prompts))

    def longest(self, ids: Sequence[int]) -> tuple[int, int]:
        """The longest beginning that is there: (number of the prompt that has it, its length).

        Of several with it, always the same one; length 0 when there is none.
        """
        wanted = tuple(ids)
        at = bisect_left(self._sorted, (wanted, -1))
        length = max((common(wanted, other) for other, _ in self._sorted[max(at - 1, 0) : at + 1]), default=0)
        if not length:
            return 0, 0
        return self._sorted[bisect_left(self._sorted, (wanted[:length], -1))][1], length


def divide(
    prompts: Sequence[Sequence[int]], known: Sequence[tuple[Hashable, int] | None]
) -> tuple[list[list[Stretch]], list[Stretch]]:
    """What must be computed of prompts, some of whose beginnings are there already.

    Args:
        prompts: token ids of distinct prompts.
        known: for each prompt who holds its beginning, and how many tokens of it.

    Returns:
        Levels and leaves, as `tree` returns them.
    """
    families: dict[tuple[Hashable, int], list[int]] = {}
    for i, (held, prompt) in enumerate(zip(known, prompts, strict=True)):
        # The last token is always computed: its logits are needed.
        key = (held[0], min(held[1], len(prompt) - 1)) if held else (None, 0)
        families.setdefault(key, []).append(i)
    return tree(prompts, [(start, *members) for (_, start), members in families.items()])


def tree(
    prompts: Sequence[Sequence[int]], families: Sequence[Sequence[int]]
) -> tuple[list[list[Stretch]], list[Stretch]]:
    """Split prompts into shared stretches.

    Args:
        prompts: token ids of distinct prompts.
        families: groups of prompt indices that may share; each with a leading start, `(start, prompt, prompt, ...)`:
            the first `start` tokens are the same in the whole family and computed already.

    Returns:
        Levels of shared stretches (a level needs only the levels before it) and one leaf per prompt, in the order of
        `prompts`. A leaf always holds at least the prompt's last token.
    """
    levels: list[list[Stretch]] = []
    leaves: dict[int, Stretch] = {}

    def split(members: Sequence[int], anchor: int, depth: int, parent: Stretch | None, level: int) -> None:
        groups: dict[int, list[int]] = {}
        for m in members:
            if len(prompts[m]) <= depth + 1:
                leaves[m] = Stretch(m, anchor, len(prompts[m]), parent)
            else:
                groups.setdefault(prompts[m][depth], []).append(m)
        for group in groups.values():
            first = group[0]
            if len(group) == 1:
                leaves[first] = Stretch(first, anchor, len(prompts[first]), parent)
                continue
            shortest = min(len(prompts[m]) for m in group)
            end = min(shortest - 1, *(common(prompts[first], prompts[m]) for m in group[1:]))
            if (end - anchor) * (len(group) - 1) < WORTH:
                split(group, anchor, max(end, depth + 1), parent, level)
                continue
            node = Stretch(first, anchor, end, parent)
            while len(levels) <= level:
                levels.append([])
            levels[level].append(node)
            split(group, end, end, node, level + 1)

    for start, *members in families:
        split(members, start, start, None, 0)
    return levels, [leaves[i] for i in range(len(prompts))]

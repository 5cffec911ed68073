"""Keys and values of many rows; rows that begin alike share one copy of their beginning.

A row's own tokens lie in columns 0, 1, 2, ... of the cache. What comes before them may lie in a row of another cache,
the trunk, which any number of rows share. A row can be forked from any prefix of any other.

    cache = KVCache(layout, rows=3)                        # three empty rows
    forks = KVCache(layout, rows=4, trunk=cache, family=[0, 0, 1, 2])
    flat = flatten([Prefix(forks, row=1, length=7)])       # trunk and own tokens copied into one row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

SPARE = 2**20
"""Bytes a layer that rows rather hold twice than share: reading so many costs less than the operations of sharing."""
GROWTH = 64
"""Columns added at least when the room runs out."""


@dataclass(frozen=True)
class Layout:
    """What is kept of one token: keys and values of `layers`, each `heads` times `size` numbers."""

    layers: tuple[int, ...]
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return 2 * len(self.layers) * self.heads * self.size * self.dtype.itemsize

    @property
    def spare(self) -> int:
        """Tokens that take `SPARE` bytes a layer."""
        return SPARE * len(self.layers) // max(1, self.token_bytes)

    def affords(self, lengths: Sequence[int], distinct: Sequence[int]) -> bool:
        """Whether rows of so many tokens may each hold their own, where they could share the distinct ones."""
        return sum(lengths) - sum(distinct) <= self.spare

    def without(self, layers: Sequence[int]) -> Layout:
        """The same, with nothing kept for some layers."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer not in layers))


@dataclass(frozen=True)
class Prefix:
    """The first `length` tokens of a row of a cache, its trunk's included."""

    cache: KVCache
    row: int
    length: int


class KVCache:
    """Keys and values.

    Args:
        layout: what is kept of a token.
        rows: number of rows, B.
        capacity: columns to reserve; more are added on demand.
        trunk: a cache without a trunk of its own, whose rows the rows of this one begin with.
        family: for each row, which row of the trunk.
    """

    def __init__(
        self,
        layout: Layout,
        rows: int,
        capacity: int = 0,
        trunk: KVCache | None = None,
        family: Sequence[int] = (),
    ) -> None:
        self.layout, self.rows, self.trunk = layout, rows, trunk
        self.used = 0
        """Columns in use: the longest row's."""
        self.lengths = torch.zeros(rows, dtype=torch.long, device=layout.device)
        """Own tokens of each row, `[B]`."""
        self.kv = {layer: self._empty(capacity) for layer in layout.layers}
        """Layer -> `[2, B, H, S, D]`, keys and values."""
        self.family: list[int] = list(family)
        self.grouping: Any = None
        """What attention worked out about `family`; forgotten when rows are placed."""

    @property
    def bases(self) -> Tensor:
        """Tokens of each row that lie in the trunk, `[B]`."""
        if self.trunk is None:
            return torch.zeros_like(self.lengths)
        return self.trunk.lengths[torch.tensor(self.family, device=self.layout.device)]

    @property
    def bytes(self) -> int:
        """What the keys and values take, the trunk's included."""
        return sum(kv.nbytes for kv in self.kv.values()) + (self.trunk.bytes if self.trunk else 0)

    def reserve(self, columns: int) -> None:
        """Make room for so many columns in all."""
        for layer, old in self.kv.items():
            capacity = old.shape[3]
            if columns > capacity:
                new = self._empty(max(columns, capacity + GROWTH))
                new[:, :, :, :capacity] = old
                self.kv[layer] = new

    def select(self, rows: Sequence[int]) -> KVCache:
        """A new cache with some rows of this one, the trunk shared."""
        index = torch.tensor(rows, dtype=torch.long, device=self.layout.device)
        new = KVCache(replace(self.layout, layers=()), len(rows), 0, self.trunk)
        new.layout, new.lengths = self.layout, self.lengths[index]
        new.family = [self.family[row] for row in rows] if self.trunk else []
        new.used = int(new.lengths.max()) if rows else 0
        new.kv = {layer: kv[:, index, :, : new.used] for layer, kv in self.kv.items()}
        return new

    def place(self, rows: Sequence[int], source: KVCache, sources: Sequence[int]) -> None:
        """Let `rows` hold copies of the own tokens of rows of another cache of the same trunk."""
        here = torch.tensor(rows, dtype=torch.long, device=self.layout.device)
        there = torch.tensor(sources, dtype=torch.long, device=self.layout.device)
        self.lengths[here] = source.lengths[there]
        self.used, self.grouping = int(self.lengths.max()), None
        self.reserve(self.used)
        for row, other, length in zip(rows, sources, self.lengths[here].tolist(), strict=True):
            if self.trunk is not None:
                self.family[row] = source.family[other]
            for layer, kv in self.kv.items():
                kv[:, row, :, :length] = source.kv[layer][:, other, :, :length]

    def _empty(self, capacity: int) -> Tensor:
        # Zeros, not garbage: attention multiplies what it must not see by a weight of zero, and 0 x NaN would spread.
        shape = (2, self.rows, self.layout.heads, capacity, self.layout.size)
        return torch.zeros(shape, dtype=self.layout.dtype, device=self.layout.device)


def flatten(layout: Layout, prefixes: Sequence[Prefix | None], room: int = 0) -> KVCache:
    """A cache without a trunk whose row `i` holds `prefixes[i]` (`None`: empty), with `room` more columns reserved.

    The prefixes may come from several caches of the same model; those stay as they are.
    """
    device = layout.device
    lengths = [prefix.length if prefix else 0 for prefix in prefixes]
    new = KVCache(layout, len(prefixes), max(lengths, default=0) + room)
    new.lengths, new.used = torch.tensor(lengths, dtype=torch.long, device=device), max(lengths, default=0)
    for row, prefix in enumerate(prefixes):
        for source, at, start, end in _pieces(prefix) if prefix else ():
            for layer, kv in new.kv.items():  # slices: one indexed copy of everything is ten times slower
                kv[:, row, :, start:end] = source.kv[layer][:, at, :, : end - start]
    return new


def _pieces(prefix: Prefix) -> list[tuple[KVCache, int, int, int]]:
    """Where a prefix lies: (cache, row, start, end) for the trunk's part and the row's own."""
    cache, row, length = prefix.cache, prefix.row, prefix.length
    if cache.trunk is None:
        return [(cache, row, 0, length)]
    base = min(int(cache.trunk.lengths[cache.family[row]]), length)
    return [(cache.trunk, cache.family[row], 0, base), (cache, row, base, length)]

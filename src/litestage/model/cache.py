"""Keys and values of many rows, with the position of every column written down.

A column holds one token of each row; a row's columns may have holes (padding, position -1), so rows of any length
share a batch, and a row can be forked from any prefix of any other. The length of a row is never asked of a layer.

    cache.append(positions)                    # opens T columns
    keys, values = cache.write(layer, k, v)    # fills them, returns all columns so far
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH = 64
"""Columns added at least when the room runs out."""


@dataclass(frozen=True)
class Prefix:
    """The first `length` tokens of a row of a cache."""

    cache: KVCache
    row: int
    length: int


class KVCache:
    """Preallocated keys and values.

    Args:
        layers: number of blocks.
        shape: `(B, H, S, D)`: rows, key-value heads, columns to reserve, head size.
        dtype: of keys and values.
        device: where they are.
    """

    def __init__(self, layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.layers, self.shape, self.dtype, self.device = layers, shape, dtype, device
        self.used = 0
        self._positions = torch.full((shape[0], shape[2]), -1, dtype=torch.long, device=device)
        # Zeros, not garbage: attention multiplies the holes by a weight of zero, and 0 x NaN would spread.
        self._kv = [torch.zeros((2, *shape), dtype=dtype, device=device) for _ in range(layers)]

    @property
    def rows(self) -> int:
        """Rows, B."""
        return self.shape[0]

    @property
    def positions(self) -> Tensor:
        """Position of the token in each used column, -1 for a hole: `[B, S]`."""
        return self._positions[:, : self.used]

    def append(self, positions: Tensor) -> None:
        """Open columns for the tokens at `positions` `[B, T]` (-1: a hole); `write` fills them layer by layer."""
        tokens = positions.shape[1]
        self._reserve(self.used + tokens)
        self._positions[:, self.used : self.used + tokens] = positions
        self.used += tokens

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the last T columns of a layer from `[B, H, T, D]`; return its used keys and values `[B, H, S, D]`."""
        kv = self._kv[layer]
        start = self.used - keys.shape[2]
        kv[0, :, :, start : self.used] = keys
        kv[1, :, :, start : self.used] = values
        return kv[0, :, :, : self.used], kv[1, :, :, : self.used]

    def fork(self, prefixes: Sequence[Prefix | None], room: int = 0) -> KVCache:
        """A new cache whose row `i` starts with `prefixes[i]` (`None`: empty), with `room` more columns reserved.

        The prefixes may come from other caches of the same model; those stay as they are.
        """
        longest = max((p.length for p in prefixes if p is not None), default=0)
        _, heads, _, size = self.shape
        new = KVCache(self.layers, (len(prefixes), heads, longest + room, size), self.dtype, self.device)
        new.used = longest
        for source in {id(p.cache): p.cache for p in prefixes if p is not None}.values():
            chosen = [(i, p) for i, p in enumerate(prefixes) if p is not None and p.cache is source]
            new._copy_rows([i for i, _ in chosen], [p for _, p in chosen], source)
        return new

    def select(self, rows: Tensor) -> KVCache:
        """A new cache with some rows of this one, every column kept."""
        new = KVCache(0, (len(rows), *self.shape[1:]), self.dtype, self.device)
        new.layers, new.used = self.layers, self.used
        new._positions = self._positions[rows]
        new._kv = [kv[:, rows] for kv in self._kv]
        return new

    def _copy_rows(self, targets: list[int], prefixes: list[Prefix], source: KVCache) -> None:
        """Copy prefixes of one source into the first columns of the target rows, without their holes."""
        rows = torch.tensor([p.row for p in prefixes], device=self.device)
        lengths = torch.tensor([p.length for p in prefixes], device=self.device)
        width = int(lengths.max())
        places = source.positions[rows]
        inside = (places >= 0) & (places < lengths[:, None])
        columns = torch.where(inside, places, torch.iinfo(torch.long).max).argsort(dim=1, stable=True)[:, :width]
        target = torch.tensor(targets, device=self.device)
        kept = inside.gather(1, columns)
        self._positions[target, :width] = torch.where(kept, places.gather(1, columns), -1)
        for mine, theirs in zip(self._kv, source._kv, strict=True):
            for half in (0, 1):
                picked = theirs[half].transpose(1, 2)[rows[:, None], columns]  # [n, width, H, D]
                mine[half].transpose(1, 2)[target, :width] = picked

    def _reserve(self, columns: int) -> None:
        rows, heads, capacity, size = self.shape
        if columns <= capacity:
            return
        capacity = max(columns, capacity + GROWTH)
        self.shape = (rows, heads, capacity, size)
        positions = torch.full((rows, capacity), -1, dtype=torch.long, device=self.device)
        positions[:, : self.used] = self.positions
        self._positions = positions
        for layer, old in enumerate(self._kv):
            self._kv[layer] = old.new_zeros((2, *self.shape))
            self._kv[layer][:, :, :, : self.used] = old[:, :, :, : self.used]

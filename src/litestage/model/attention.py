"""Attention of new tokens over a cache: over each row's own tokens, and over the trunk that rows share.

The trunk is read once for all the rows that begin with it: their queries are stacked into one product. Scores of the
two parts go through one softmax, so a row gets what it would get from one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from litestage.model.cache import KVCache


class Pass:
    """One forward pass of new tokens over a cache: where they are written, and what they see.

    Args:
        cache: what the tokens are appended to.
        counts: new tokens of each row; `None` is one each, a decode step.
        groups: query heads per key-value head.
    """

    def __init__(self, cache: KVCache, counts: Sequence[int] | None, groups: int) -> None:
        self.cache, self.groups = cache, groups
        device = cache.layout.device
        self.tokens = 1 if counts is None else max(counts, default=0)
        """Most new tokens of a row, T."""
        self.rows = torch.arange(cache.rows, device=device)
        self.places: Tensor | None = None
        """Where token n lies among `B * T` padded ones, `[N]`; `None` when that is n."""
        if counts is None:
            self.columns = cache.lengths.clone()
            self.padded = self.columns[:, None]
            cache.used += 1
            cache.lengths += 1
        else:
            new = torch.tensor(counts, device=device)
            span = torch.arange(self.tokens, device=device)
            inside = span < new[:, None]
            self.padded = torch.where(inside, cache.lengths[:, None] + span, 0)
            self.rows = self.rows[:, None].expand_as(inside)[inside]
            self.columns = self.padded[inside]
            self.places = None if min(counts) == self.tokens else inside.flatten().nonzero().squeeze(1)
            cache.lengths += new
            cache.used = int(cache.lengths.max())
        cache.reserve(cache.used)
        if cache.grouping is None:
            cache.grouping = _Trunk(cache) if cache.trunk is not None else cache.bases
        self.trunk: _Trunk | None = cache.grouping if cache.trunk is not None else None
        self.bases: Tensor = cache.grouping.bases if self.trunk is not None else cache.grouping
        self.positions = self.columns + self.bases[self.rows]
        """Place of each token in its row's whole text, `[N]`."""
        if self.trunk is not None and not self.trunk.used:
            self.trunk = None  # nothing of what others share belongs to these rows
        self._masks: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None) -> Tensor:
        """Write keys and values `[N, H, D]`; return what queries `[N, groups * H, D]` see, `[N, groups * H * D]`."""
        kv, used = self.cache.kv[layer], self.cache.used
        keys, values = kv.narrow(3, 0, used).unbind()
        if len(k) == self.cache.rows == 1:
            keys.select(2, -1).copy_(k)
            values.select(2, -1).copy_(v)
        else:
            kv[0][self.rows, :, self.columns] = k
            kv[1][self.rows, :, self.columns] = v
        # The query heads that share a key-value head become further queries of it, so keys are never repeated.
        _, heads, size = k.shape
        rows, queries = self.cache.rows, self.groups * self.tokens
        if self.places is not None:
            q = q.new_zeros(rows * self.tokens, *q.shape[1:]).index_copy_(0, self.places, q)
        if self.tokens > 1:
            q = q.view(rows, self.tokens, heads, self.groups, size).permute(0, 2, 3, 1, 4)
        q = q.reshape(rows, heads, queries, size)
        own, shared = self._mask(window)
        if self.trunk is None:
            out = scaled_dot_product_attention(q, keys, values, attn_mask=own, scale=scale)
        else:
            out = self.trunk.attend(layer, q, keys, values, (own, shared), scale)
        if self.tokens > 1:
            out = out.view(rows, heads, self.groups, self.tokens, size).permute(0, 3, 1, 2, 4)
        out = out.reshape(rows * self.tokens, -1)
        return out if self.places is None else out[self.places]

    def _mask(self, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the scores over own tokens `[B, 1, Q or 1, S]`, and to those over the trunk."""
        if window not in self._masks:
            own = None
            if self.cache.rows > 1 or self.tokens > 1 or window is not None:
                columns = torch.arange(self.cache.used, device=self.padded.device)
                own = _hidden(columns[None, None], self.padded[..., None], window, self.cache.layout.dtype)
                own = self._per_query(own)
            shared = self.trunk.mask(self.bases[:, None] + self.padded, self.groups, window) if self.trunk else None
            self._masks[window] = own, shared
        return self._masks[window]

    def _per_query(self, mask: Tensor) -> Tensor:
        """`[B, T, S]` for tokens to `[B, 1, groups * T, S]` for queries; one row does for all when T is 1."""
        if self.tokens == 1:
            return mask[:, None]
        rows, tokens, columns = mask.shape
        return mask[:, None].expand(rows, self.groups, tokens, columns).reshape(rows, 1, -1, columns)


class _Trunk:
    """The shared part: its rows from `first` on, and which rows of the cache belong to each."""

    def __init__(self, cache: KVCache) -> None:
        trunk, device = cache.trunk, cache.layout.device
        if trunk is None:
            raise ValueError("the cache has no trunk")
        self.kv, self.first = trunk.kv, min(cache.family)
        families = [family - self.first for family in cache.family]
        self.groups = max(families) + 1
        members: list[list[int]] = [[] for _ in range(self.groups)]
        for row, family in enumerate(families):
            members[family].append(row)
        self.most = max(len(m) for m in members)
        stacked = [row for m in members for row in (*m, *[0] * (self.most - len(m)))]
        back = [0] * cache.rows
        for family, m in enumerate(members):
            for place, row in enumerate(m):
                back[row] = family * self.most + place
        ordered = stacked == list(range(cache.rows))
        self.stacked = None if ordered else torch.tensor(stacked, device=device)
        self.back = None if ordered else torch.tensor(back, device=device)
        self.lengths = trunk.lengths[self.first : self.first + self.groups]
        self.used = int(self.lengths.max())
        self.bases = cache.bases
        self.dtype = cache.layout.dtype

    def attend(
        self,
        layer: int,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        masks: tuple[Tensor | None, Tensor | None],
        scale: float,
    ) -> Tensor:
        """Attention of q `[B, H, Q, D]` over the trunk and over own keys and values `[B, H, S, D]`."""
        queries = q.shape[2]
        kv = self.kv[layer][:, self.first : self.first + self.groups, :, : self.used]
        own_mask, shared_mask = masks
        q = q * scale
        shared = self._unstack(_plus(shared_mask, self._stack(q), kv[0].mT), queries)
        own = _plus(own_mask, q, keys.mT)
        weights = torch.cat((shared, own), dim=-1).softmax(-1, dtype=torch.float32).to(q.dtype)
        out = self._unstack(_plus(None, self._stack(weights[..., : self.used]), kv[1]), queries)
        return _plus(out, weights[..., self.used :], values)

    def mask(self, positions: Tensor, groups: int, window: int | None) -> Tensor | None:
        """Added to scores over the trunk, `[G, 1, Q or 1, S]`, for padded query positions `[B, T]`."""
        columns = torch.arange(self.used, device=self.lengths.device)
        if window is None:
            if self.groups == 1:
                return None
            return _hidden(columns[None, None], self.lengths[:, None, None] - 1, None, self.dtype)[:, None]
        stacked = positions if self.stacked is None else positions[self.stacked]
        stacked = stacked.view(self.groups, self.most, 1, -1).expand(-1, -1, groups, -1).reshape(self.groups, -1, 1)
        far = _hidden(columns[None, None], stacked, window, self.dtype)
        ends = _hidden(columns[None, None], self.lengths[:, None, None] - 1, None, self.dtype)
        return (far + ends)[:, None]

    def _stack(self, x: Tensor) -> Tensor:
        """`[B, H, Q, *]` to `[G, H, n * Q, *]`: the rows of a family side by side."""
        x = x if self.stacked is None else x[self.stacked]
        x = x.view(self.groups, self.most, *x.shape[1:]).transpose(1, 2)
        return x.reshape(*x.shape[:2], -1, x.shape[-1])

    def _unstack(self, x: Tensor, queries: int) -> Tensor:
        """Undo `_stack`."""
        _, heads, _, size = x.shape
        x = x.view(self.groups, heads, self.most, queries, size).transpose(1, 2).reshape(-1, heads, queries, size)
        return x if self.back is None else x[self.back]


def _plus(added: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """`added + a @ b` in one product; all `[X, H, ., .]`, `added` broadcast."""
    first, second = a.flatten(0, 1), b.flatten(0, 1)
    if added is None:
        out = torch.bmm(first, second)
    else:
        out = torch.baddbmm(added.expand(*a.shape[:2], *added.shape[2:]).flatten(0, 1), first, second)
    return out.view(*a.shape[:-1], b.shape[-1])


def _hidden(columns: Tensor, last: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 for columns up to `last` (and at most `window` of them), minus infinity for the others."""
    seen = columns <= last
    if window is not None:
        seen &= columns > last - window
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)

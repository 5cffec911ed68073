"""Attention over trunk and own tokens against plain softmax attention over the concatenated keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
import torch
from torch import Tensor

from litestage.model.attention import Pass
from litestage.model.cache import KVCache, Layout

HEADS, GROUPS, SIZE, SCALE = 2, 3, 4, 0.4
LAYERS = (0, 1)
LAYOUT = Layout(LAYERS, HEADS, SIZE, torch.float32, torch.device("cpu"))
WINDOWS = [None, 1, 3, 6]

SHAPES: dict[str, tuple[list[int] | None, list[int]]] = {
    "no trunk": (None, [0, 0, 0, 0]),
    "one row, no trunk": (None, [0]),
    "one family": ([7], [0, 0, 0]),
    "one row of its own": ([7], [0]),
    "equal families in order": ([5, 8], [0, 0, 1, 1]),
    "one row each": ([5, 0, 8], [0, 1, 2]),
    "ragged and unordered": ([5, 0, 9], [2, 0, 2, 1, 2, 0]),
    "not from the first on": ([4, 3, 8, 6], [2, 1, 2]),
    "with one left out": ([4, 6, 8], [2, 0, 2, 2]),
    "empty beside a full one": ([6, 0], [1, 1]),
    "an empty trunk": ([0, 0], [1, 0, 1]),
}
"""Name -> (lengths of the trunk's rows, row of the trunk of each row)."""


@dataclass
class Bench:
    """A cache and, kept by hand, all keys and values `[T, H, D]` of each row from the start of its text."""

    cache: KVCache
    generator: torch.Generator
    keys: list[list[Tensor]] = field(default_factory=list)
    values: list[list[Tensor]] = field(default_factory=list)

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def attend(self, counts: Sequence[int] | None, window: int | None) -> tuple[Tensor, Tensor]:
        """One pass through the first layer: what comes out, and what plain attention gives."""
        new = [1] * self.cache.rows if counts is None else counts
        total = sum(new)
        q, k, v = self.draw(total, HEADS * GROUPS, SIZE), self.draw(total, HEADS, SIZE), self.draw(total, HEADS, SIZE)
        step = Pass(self.cache, counts, GROUPS)
        got = step.attend(0, q, k, v, SCALE, window)
        want, at = [], 0
        for row, count in enumerate(new):
            for token in range(at, at + count):
                self.keys[row].append(k[token])
                self.values[row].append(v[token])
                assert step.positions[token] == len(self.keys[row]) - 1
                want.append(plain(q[token], self.keys[row], self.values[row], window))
            at += count
        return got, torch.stack(want)


def plain(q: Tensor, keys: list[Tensor], values: list[Tensor], window: int | None) -> Tensor:
    """What one token's queries `[heads, D]` see of the last `window` keys, its own among them."""
    seen = slice(-window if window else None, None)
    k, v = torch.stack(keys[seen]), torch.stack(values[seen])
    k, v = k.repeat_interleave(GROUPS, dim=1), v.repeat_interleave(GROUPS, dim=1)
    weights = (torch.einsum("hd,thd->ht", q, k) * SCALE).softmax(-1)
    return torch.einsum("ht,thd->hd", weights, v).flatten()


def bench(lengths: Sequence[int] | None, family: Sequence[int], seed: int = 0) -> Bench:
    """Empty rows on a random trunk. Columns that hold no token are full of large numbers."""
    generator = torch.Generator().manual_seed(seed)
    trunk = None
    if lengths is not None:
        trunk = KVCache(LAYOUT, len(lengths), max(lengths) + 3)
        trunk.lengths, trunk.used = torch.tensor(lengths), max(lengths)
    cache = KVCache(LAYOUT, len(family), 30, trunk, family if trunk else ())
    for kv in (*cache.kv.values(), *(trunk.kv.values() if trunk else ())):
        kv.copy_(50 * torch.randn(kv.shape, generator=generator))
    made = Bench(cache, generator, [[] for _ in family], [[] for _ in family])
    if trunk:
        for row, length in enumerate(lengths or ()):
            trunk.kv[0][:, row, :, :length] = made.draw(2, HEADS, length, SIZE)
        for row, place in enumerate(family):
            held = trunk.kv[0][:, place, :, : int(trunk.lengths[place])].transpose(1, 2)
            made.keys[row], made.values[row] = list(held[0]), list(held[1])
    return made


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_decode_steps_equal_plain_attention(shape: str, window: int | None) -> None:
    made = bench(*SHAPES[shape])
    for _ in range(9):
        close(*made.attend(None, window))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_ragged_pieces_equal_plain_attention(shape: str, window: int | None) -> None:
    made, random = bench(*SHAPES[shape]), Random(1)
    for high in (5, 1, 3, 5):
        counts = [random.randint(0, high) for _ in range(made.cache.rows)]
        counts[random.randrange(len(counts))] = high
        close(*made.attend(counts, window))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_of_one_length_and_steps_take_turns(shape: str, window: int | None) -> None:
    made = bench(*SHAPES[shape])
    for counts in ([4] * made.cache.rows, None, [2] * made.cache.rows, [1] * made.cache.rows, None):
        close(*made.attend(counts, window))


def test_random_families() -> None:
    random = Random(0)
    for case in range(40):
        lengths = [random.randint(0, 9) for _ in range(random.randint(1, 4))]
        family = random.choices(range(len(lengths)), k=random.randint(1, 7))
        made, window = bench(lengths, family, seed=case), random.choice(WINDOWS)
        close(*made.attend([random.randint(1, 4) for _ in family], window))
        for _ in range(3):
            close(*made.attend(None, window))
        close(*made.attend([*(random.randint(0, 3) for _ in family[1:]), 2], window))


def test_one_pass_serves_every_window() -> None:
    """Blocks with and without a window share a pass."""
    made = bench(*SHAPES["ragged and unordered"])
    made.attend([3, 5, 1, 2, 4, 6], None)
    rows = made.cache.rows
    step, q = Pass(made.cache, None, GROUPS), made.draw(rows, HEADS * GROUPS, SIZE)
    k, v = made.draw(rows, HEADS, SIZE), made.draw(rows, HEADS, SIZE)
    keys = [[*held, k[row]] for row, held in enumerate(made.keys)]
    values = [[*held, v[row]] for row, held in enumerate(made.values)]
    for window in (None, 3, None, 6, 3):
        want = [plain(q[row], keys[row], values[row], window) for row in range(rows)]
        close(step.attend(0, q, k, v, SCALE, window), torch.stack(want))


@pytest.mark.parametrize("counts", [None, [2, 0, 3, 1, 1, 4]])
def test_keys_are_written_to_their_own_row_and_nowhere_else(counts: list[int] | None) -> None:
    made = bench(*SHAPES["ragged and unordered"])
    made.attend([3, 5, 1, 2, 4, 6], None)
    cache, trunk = made.cache, made.cache.trunk
    assert trunk is not None
    before = {layer: kv.clone() for layer, kv in cache.kv.items()}
    shared = {layer: kv.clone() for layer, kv in trunk.kv.items()}
    starts = cache.lengths.tolist()
    made.attend(counts, None)
    new = counts or [1] * cache.rows
    assert cache.lengths.tolist() == [start + count for start, count in zip(starts, new, strict=True)]
    for row, (start, count) in enumerate(zip(starts, new, strict=True)):
        want = before[0][:, row].clone()
        if count:
            want[0, :, start : start + count] = torch.stack(made.keys[row][-count:], dim=1)
            want[1, :, start : start + count] = torch.stack(made.values[row][-count:], dim=1)
        assert torch.equal(cache.kv[0][:, row], want)
    assert torch.equal(cache.kv[1], before[1])  # the layer that was not asked
    assert all(torch.equal(kv, shared[layer]) for layer, kv in trunk.kv.items())


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("counts", [None, [2, 1, 3, 1, 1, 4]])
def test_a_row_never_sees_another(counts: list[int] | None, window: int | None) -> None:
    """Other keys in one row, old and new, change the output of that row only."""
    new = counts or [1] * 6
    owner = torch.arange(6).repeat_interleave(torch.tensor(new))
    outs = []
    for changed in (None, 2):
        made = bench(*SHAPES["ragged and unordered"])
        made.attend([3, 5, 1, 2, 4, 6], window)
        q, kv = made.draw(len(owner), HEADS * GROUPS, SIZE), made.draw(2, len(owner), HEADS, SIZE)
        if changed is not None:
            made.cache.kv[0][:, changed] += 1.0
            kv[:, owner == changed] += 1.0
        outs.append(Pass(made.cache, counts, GROUPS).attend(0, q, kv[0], kv[1], SCALE, window))
    assert torch.equal(outs[0][owner != 2], outs[1][owner != 2])
    assert not torch.isclose(outs[0][owner == 2], outs[1][owner == 2]).all(-1).any()


def test_rows_without_new_tokens_stay_finite_and_silent() -> None:
    made = bench([0, 3], [0, 1, 0])
    got, want = made.attend([0, 0, 2], None)
    assert got.shape == (2, HEADS * GROUPS * SIZE)
    close(got, want)
    assert made.cache.lengths.tolist() == [0, 0, 2]


def test_half_precision_is_close() -> None:
    made = bench(*SHAPES["ragged and unordered"])
    layout = Layout(LAYERS, HEADS, SIZE, torch.bfloat16, torch.device("cpu"))
    trunk = made.cache.trunk
    assert trunk is not None
    half = KVCache(layout, trunk.rows)
    half.lengths, half.used = trunk.lengths, trunk.used
    half.kv = {layer: kv.bfloat16() for layer, kv in trunk.kv.items()}
    cache = KVCache(layout, made.cache.rows, 0, half, made.cache.family)
    rows = cache.rows
    q, k, v = made.draw(rows, HEADS * GROUPS, SIZE), made.draw(rows, HEADS, SIZE), made.draw(rows, HEADS, SIZE)
    want = Pass(made.cache, None, GROUPS).attend(0, q, k, v, SCALE, None)
    got = Pass(cache, None, GROUPS).attend(0, q.bfloat16(), k.bfloat16(), v.bfloat16(), SCALE, None)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.05)

"""Keys and values stay with their row and position through growth, forks, selection and placing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest
import torch

from litestage.model.cache import GROWTH, KVCache, Layout, Prefix, flatten

HEADS, SIZE = 3, 4
LAYOUT = Layout((0, 1), HEADS, SIZE, torch.float32, torch.device("cpu"))
Rows = list[list[int]]


def stamp(tokens: Sequence[int], layer: int) -> torch.Tensor:
    """Keys `[H, T, D]` that tell token, layer, head and place in the head from one another."""
    heads = torch.arange(HEADS)[:, None, None] / 10
    return torch.tensor(tokens)[None, :, None] + 1000.0 * layer + heads + torch.arange(SIZE) / 100


def fill(cache: KVCache, tokens: Rows) -> None:
    """Append to each row the keys of its new tokens, which are unique numbers, and values of the other sign."""
    ends = [int(n) + len(new) for n, new in zip(cache.lengths, tokens, strict=True)]
    cache.reserve(max(ends))
    for row, (end, new) in enumerate(zip(ends, tokens, strict=True)):
        for layer, kv in cache.kv.items():
            kv[0, row, :, end - len(new) : end] = stamp(new, layer)
            kv[1, row, :, end - len(new) : end] = -stamp(new, layer)
    cache.lengths += torch.tensor([len(new) for new in tokens])
    cache.used = max(ends)


def assert_holds(cache: KVCache, want: Rows) -> None:
    """Every row holds exactly these tokens, the trunk's first, in every layer."""
    assert cache.rows == len(want)
    assert (cache.bases + cache.lengths).tolist() == [len(tokens) for tokens in want]
    assert cache.used >= max(cache.lengths.tolist(), default=0)
    for row, tokens in enumerate(want):
        base = int(cache.bases[row])
        for layer, kv in cache.kv.items():
            assert kv.shape[3] >= cache.used
            found = kv[:, row, :, : len(tokens) - base]
            if cache.trunk is not None:
                found = torch.cat((cache.trunk.kv[layer][:, cache.family[row], :, :base], found), dim=2)
            assert torch.equal(found[0], stamp(tokens, layer))
            assert torch.equal(found[1], -stamp(tokens, layer))


def made(tokens: Rows, trunk: KVCache | None = None, family: Sequence[int] = ()) -> KVCache:
    cache = KVCache(LAYOUT, len(tokens), 0, trunk, family)
    fill(cache, tokens)
    return cache


@pytest.fixture
def source() -> KVCache:
    return made([[10, 11, 12, 13], [20, 21], []])


@pytest.fixture
def forks(source: KVCache) -> KVCache:
    """Rows that begin with rows 1, 0, 0 and 2 of the source: 20 21 | 30, 10 .. 13 |, 10 .. 13 | 40 41, | 50."""
    return made([[30], [], [40, 41], [50]], source, [1, 0, 0, 2])


def test_rows_of_different_lengths_hold_their_tokens(source: KVCache) -> None:
    assert source.used == 4
    assert_holds(source, [[10, 11, 12, 13], [20, 21], []])


def test_growth_keeps_what_is_there(source: KVCache) -> None:
    capacity = source.kv[0].shape[3]
    for i in range(capacity):
        fill(source, [[14 + i], [22 + i], [100 + i]])
    assert source.kv[0].shape[3] == capacity + GROWTH
    assert_holds(source, [[*range(10, 14 + capacity)], [*range(20, 22 + capacity)], [*range(100, 100 + capacity)]])


def test_room_that_is_there_is_used() -> None:
    cache = KVCache(LAYOUT, 2, 5)
    before = cache.kv
    fill(cache, [[1, 2, 3, 4, 5], [6]])
    assert all(cache.kv[layer] is kv for layer, kv in before.items())
    fill(cache, [[7], [8]])
    assert {kv.shape[3] for kv in cache.kv.values()} == {5 + GROWTH}


def test_a_long_append_grows_at_once() -> None:
    long = list(range(3 * GROWTH))
    assert_holds(made([long]), [long])


@pytest.fixture
def garbage() -> Iterator[None]:
    """Fresh memory that nobody has written is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("garbage")
def test_columns_that_nobody_wrote_hold_no_garbage(source: KVCache) -> None:
    source.reserve(100)
    flat = flatten(LAYOUT, [Prefix(source, 0, 1), None, Prefix(source, 1, 2)], room=3)
    placed = KVCache(LAYOUT, 2, 1)
    placed.place([1], source, [0])
    chosen = source.select([1, 0])
    chosen.reserve(80)
    for cache in (source, flat, placed, chosen):
        assert all(kv.isfinite().all() for kv in cache.kv.values())


def test_rows_may_share_their_beginning(forks: KVCache) -> None:
    assert forks.bases.tolist() == [2, 4, 4, 0]
    assert_holds(forks, [[20, 21, 30], [10, 11, 12, 13], [10, 11, 12, 13, 40, 41], [50]])


def test_forks_and_trunk_go_their_own_ways(source: KVCache, forks: KVCache) -> None:
    fill(forks, [[31], [60], [], [51]])
    assert_holds(forks, [[20, 21, 30, 31], [10, 11, 12, 13, 60], [10, 11, 12, 13, 40, 41], [50, 51]])
    assert_holds(source, [[10, 11, 12, 13], [20, 21], []])


@pytest.mark.parametrize("length", range(7))
def test_a_flat_row_holds_any_prefix_of_a_fork(forks: KVCache, length: int) -> None:
    """Shorter than the trunk's part, just that, and longer."""
    flat = flatten(LAYOUT, [Prefix(forks, 2, length)])
    assert flat.trunk is None
    assert_holds(flat, [[10, 11, 12, 13, 40, 41][:length]])


def test_flat_rows_come_from_several_caches(source: KVCache, forks: KVCache) -> None:
    prefixes = [Prefix(forks, 0, 3), None, Prefix(source, 0, 3), Prefix(forks, 3, 1), Prefix(source, 1, 0)]
    flat = flatten(LAYOUT, prefixes, room=2)
    assert_holds(flat, [[20, 21, 30], [], [10, 11, 12], [50], []])
    assert (flat.used, flat.kv[0].shape[3]) == (3, 5)
    fill(flat, [[1], [2], [3], [4], [5]])
    assert_holds(flat, [[20, 21, 30, 1], [2], [10, 11, 12, 3], [50, 4], [5]])
    assert_holds(source, [[10, 11, 12, 13], [20, 21], []])
    assert_holds(forks, [[20, 21, 30], [10, 11, 12, 13], [10, 11, 12, 13, 40, 41], [50]])


def test_flat_rows_of_nothing_are_empty(source: KVCache) -> None:
    for prefixes in ([None, None], [Prefix(source, 0, 0), None]):
        flat = flatten(LAYOUT, prefixes)
        assert (flat.rows, flat.used) == (2, 0)
        fill(flat, [[1], [2]])
        assert_holds(flat, [[1], [2]])
    assert flatten(LAYOUT, []).rows == 0


def test_select_keeps_some_rows(source: KVCache, forks: KVCache) -> None:
    chosen = source.select([1])
    assert (chosen.rows, chosen.used) == (1, 2)
    fill(chosen, [[22]])
    assert_holds(chosen, [[20, 21, 22]])
    assert_holds(source, [[10, 11, 12, 13], [20, 21], []])
    assert_holds(source.select([1, 0, 1]), [[20, 21], [10, 11, 12, 13], [20, 21]])
    assert source.select([]).rows == 0
    some = forks.select([3, 0, 2])
    assert some.trunk is source
    assert_holds(some, [[50], [20, 21, 30], [10, 11, 12, 13, 40, 41]])


def test_placed_rows_are_copies(source: KVCache) -> None:
    cache = made([[1, 2, 3, 4, 5, 6], [7], [8]])
    cache.place([0, 2], source, [1, 0])
    assert_holds(cache, [[20, 21], [7], [10, 11, 12, 13]])
    assert cache.used == 4  # the longest row has gone
    fill(cache, [[22], [], []])
    assert_holds(cache, [[20, 21, 22], [7], [10, 11, 12, 13]])
    assert_holds(source, [[10, 11, 12, 13], [20, 21], []])


def test_a_placed_row_brings_its_trunk(source: KVCache, forks: KVCache) -> None:
    cache = KVCache(LAYOUT, 2, 0, source, [0, 0])
    cache.place([1], forks, [0])
    assert_holds(cache, [[10, 11, 12, 13], [20, 21, 30]])
    cache.place([1, 0], forks, [3, 2])
    assert_holds(cache, [[10, 11, 12, 13, 40, 41], [50]])
    assert forks.family == [1, 0, 0, 2]


def test_layers_may_be_left_out(source: KVCache) -> None:
    few = LAYOUT.without([0])
    assert (few.layers, LAYOUT.without([]), LAYOUT.layers) == ((1,), LAYOUT, (0, 1))
    cache = KVCache(few, 2)
    cache.place([0, 1], source, [1, 0])
    chosen = cache.select([1])
    chosen.reserve(9)
    for some, want in ((cache, [[20, 21], [10, 11, 12, 13]]), (chosen, [[10, 11, 12, 13]])):
        assert set(some.kv) == {1}
        assert some.layout == few
        assert_holds(some, want)


def test_bytes_of_a_token() -> None:
    assert LAYOUT.token_bytes == 2 * 2 * HEADS * SIZE * 4
    half = Layout((0, 3, 5), 2, 8, torch.bfloat16, torch.device("cpu"))
    assert half.token_bytes == 2 * 3 * 2 * 8 * 2


def test_random_histories_keep_every_token() -> None:
    random, number = Random(0), iter(range(100, 10_000))

    def grow(cache: KVCache, rows: Rows) -> None:
        new = [[next(number) for _ in range(random.randint(0, 4))] for _ in rows]
        fill(cache, new)
        for row, more in zip(rows, new, strict=True):
            row += more

    for _ in range(15):
        caches, truth = [KVCache(LAYOUT, 3, 2)], [[[], [], []]]
        closed: set[int] = set()  # trunks stay as they are
        for _ in range(8):
            at = random.randrange(len(caches))
            if at not in closed:
                grow(caches[at], truth[at])
            picks = [(random.randrange(len(caches)), random.randrange(3)) for _ in range(3)]
            cuts = [random.randint(0, len(truth[c][r])) for c, r in picks]
            prefixes = [Prefix(caches[c], r, n) for (c, r), n in zip(picks, cuts, strict=True)]
            flat = flatten(LAYOUT, prefixes, random.randint(0, 3))
            caches.append(flat)
            truth.append([truth[c][r][:n] for (c, r), n in zip(picks, cuts, strict=True)])
            family = random.choices(range(3), k=3)
            forks, texts = KVCache(LAYOUT, 3, 0, flat, family), [list(truth[-1][f]) for f in family]
            closed.add(len(caches) - 1)
            grow(forks, texts)
            order = random.sample(range(3), 3)
            chosen, kept = forks.select(order), [list(texts[r]) for r in order]
            grow(chosen, kept)
            target, origin = random.randrange(3), random.randrange(3)
            forks.place([target], chosen, [origin])
            texts[target] = list(kept[origin])
            caches += [forks, chosen]
            truth += [texts, kept]
        for cache, rows in zip(caches, truth, strict=True):
            assert_holds(cache, rows)

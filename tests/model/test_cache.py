"""Keys and values stay with their row and position through growth, forks and selection."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import torch

from litestage.model.cache import GROWTH, KVCache, Prefix

LAYERS, HEADS, SIZE = 2, 3, 4
Row = list[int | None]  # what each column holds: a token (its number), or a hole


def stamp(row_tokens: torch.Tensor, layer: int) -> torch.Tensor:
    """Keys `[B, H, T, D]` that tell token, layer, head and place in the head from one another."""
    heads = torch.arange(HEADS)[:, None] / 10
    return row_tokens[:, None, :, None] + 1000.0 * layer + heads[:, :, None] + torch.arange(SIZE) / 100


def fill(cache: KVCache, tokens: list[Row], positions: list[Row], layers: tuple[int, ...] = (0, 1)) -> None:
    """Append columns; `tokens` are unique numbers, holes hold -7."""
    numbers = torch.tensor([[-7 if t is None else t for t in row] for row in tokens])
    cache.append(torch.tensor([[-1 if p is None else p for p in row] for row in positions]))
    for layer in layers:
        cache.write(layer, stamp(numbers, layer), -stamp(numbers, layer))


def contents(cache: KVCache, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Used keys and values of a layer, seen through the public `write` of nothing."""
    none = torch.empty(cache.rows, HEADS, 0, SIZE)
    return cache.write(layer, none, none)


def assert_holds(cache: KVCache, want: list[list[int]]) -> None:
    """Every row holds exactly these tokens, token `i` at position `i`, in both layers."""
    for row, tokens in enumerate(want):
        places = cache.positions[row].tolist()
        assert sorted(p for p in places if p >= 0) == list(range(len(tokens)))
        for layer in range(LAYERS):
            keys, values = contents(cache, layer)
            for column, place in enumerate(places):
                if place >= 0:
                    expected = stamp(torch.tensor([[tokens[place]]]), layer)[0, :, 0]
                    assert torch.equal(keys[row, :, column], expected)
                    assert torch.equal(values[row, :, column], -expected)


def new_cache(rows: int, capacity: int) -> KVCache:
    return KVCache(LAYERS, (rows, HEADS, capacity, SIZE), torch.float32, torch.device("cpu"))


@pytest.fixture
def source() -> KVCache:
    """Two rows with holes on the left, in the middle and on the right: tokens 10 11 12 13 and 20 21."""
    cache = new_cache(2, 4)
    fill(cache, [[10, 11], [None, 20]], [[0, 1], [None, 0]])
    fill(cache, [[None, 12, 13], [21, None, None]], [[None, 2, 3], [1, None, None]])
    return cache


def test_rows_with_holes_hold_their_tokens(source: KVCache) -> None:
    assert source.used == 5
    assert_holds(source, [[10, 11, 12, 13], [20, 21]])


def test_growth_keeps_what_is_there(source: KVCache) -> None:
    assert source.shape[2] == 4 + GROWTH
    for i in range(GROWTH):
        fill(source, [[14 + i], [22 + i]], [[4 + i], [2 + i]])
    assert source.shape[2] == 4 + 2 * GROWTH
    assert_holds(source, [list(range(10, 14 + GROWTH)), list(range(20, 22 + GROWTH))])


def test_a_long_append_grows_at_once() -> None:
    cache, long = new_cache(1, 2), list(range(3 * GROWTH))
    fill(cache, [long], [long])
    assert_holds(cache, [long])


@pytest.fixture
def garbage() -> Iterator[None]:
    """Fresh memory that nobody has written is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("garbage")
def test_columns_that_a_skipped_attention_left_out_hold_no_garbage() -> None:
    cache = new_cache(1, 1)
    fill(cache, [[10]], [[0]])
    fill(cache, [[11, 12]], [[1, 2]], layers=(1,))  # grows, and layer 0 writes nothing
    for half in contents(cache, 0):
        assert half.isfinite().all()
    fork = cache.fork([Prefix(cache, 0, 1), None])
    assert all(half.isfinite().all() for layer in range(LAYERS) for half in contents(fork, layer))


def test_a_fork_starts_with_any_prefix_of_any_row(source: KVCache) -> None:
    prefixes = [Prefix(source, 1, 2), Prefix(source, 0, 3), None, Prefix(source, 0, 4), Prefix(source, 0, 1)]
    fork = source.fork(prefixes, room=2)
    assert_holds(fork, [[20, 21], [10, 11, 12], [], [10, 11, 12, 13], [10]])
    assert (fork.used, fork.shape[2]) == (4, 6)  # without the source's holes


def test_a_fork_takes_rows_of_several_caches(source: KVCache) -> None:
    other = source.fork([Prefix(source, 0, 2)])
    fill(other, [[30, None, 31]], [[2, None, 3]])
    fork = source.fork([Prefix(other, 0, 4), Prefix(source, 1, 1), Prefix(other, 0, 3), Prefix(source, 0, 3)])
    assert_holds(fork, [[10, 11, 30, 31], [20], [10, 11, 30], [10, 11, 12]])


def test_fork_and_source_go_their_own_ways(source: KVCache) -> None:
    fork = source.fork([Prefix(source, 0, 2)], room=1)
    fill(fork, [[99]], [[2]])
    fill(source, [[14], [22]], [[4], [2]])
    assert_holds(fork, [[10, 11, 99]])
    assert_holds(source, [[10, 11, 12, 13, 14], [20, 21, 22]])


def test_a_fork_of_nothing_is_empty(source: KVCache) -> None:
    for prefixes in ([None, None], [Prefix(source, 0, 0), None]):
        fork = source.fork(prefixes)
        assert (fork.rows, fork.used) == (2, 0)
        fill(fork, [[1], [2]], [[0], [0]])
        assert_holds(fork, [[1], [2]])


def test_select_keeps_some_rows(source: KVCache) -> None:
    chosen = source.select(torch.tensor([1]))
    assert chosen.rows == 1
    fill(chosen, [[22]], [[2]])
    assert_holds(chosen, [[20, 21, 22]])
    assert_holds(source, [[10, 11, 12, 13], [20, 21]])
    assert_holds(source.select(torch.tensor([1, 0, 1])), [[20, 21], [10, 11, 12, 13], [20, 21]])


def test_random_histories_keep_every_token() -> None:
    random, number = Random(0), iter(range(100, 10_000))
    for _ in range(15):
        caches, truth = [new_cache(3, 2)], [[[], [], []]]
        for _ in range(6):
            at = random.randrange(len(caches))
            cache, rows = caches[at], truth[at]
            width = random.randint(1, 4)
            tokens: list[Row] = [[next(number) if random.random() < 0.7 else None for _ in range(width)] for _ in rows]
            positions: list[Row] = []
            for row, new in zip(rows, tokens, strict=True):
                places = iter(range(len(row), len(row) + width))
                positions.append([None if t is None else next(places) for t in new])
                row += [t for t in new if t is not None]
            fill(cache, tokens, positions)
            picks = [(random.randrange(len(caches)), random.randrange(3)) for _ in range(3)]
            cuts = [random.randint(0, len(truth[c][r])) for c, r in picks]
            caches.append(cache.fork([Prefix(caches[c], r, n) for (c, r), n in zip(picks, cuts, strict=True)]))
            truth.append([truth[c][r][:n] for (c, r), n in zip(picks, cuts, strict=True)])
        for cache, rows in zip(caches, truth, strict=True):
            assert_holds(cache, rows)

"""The radix tree against brute force, and the search for what is held already."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
import torch

from litestage.model import prefix
from litestage.model.cache import KVCache, Layout, Prefix
from litestage.model.decode import Prompts
from litestage.model.prefix import Beginnings, Stretch, common, divide, tree

Tokens = tuple[int, ...]
Family = tuple[int, ...]  # (start, prompt, prompt, ...)


def path(leaf: Stretch) -> list[Stretch]:
    """The stretches of a prompt from its start to its end."""
    return [*(path(leaf.parent) if leaf.parent else []), leaf]


def check(prompts: list[Tokens], families: list[Family]) -> int:
    """Every property of a tree; returns the number of tokens it computes."""
    levels, leaves = tree(prompts, families)
    start_of = {m: start for start, *members in families for m in members}
    family_of = {m: i for i, (_, *members) in enumerate(families) for m in members}
    nodes = [node for level in levels for node in level]
    level_of = {node: depth for depth, level in enumerate(levels) for node in level}
    assert all(levels)
    users: Counter[Stretch] = Counter()
    for i, leaf in enumerate(leaves):
        stretches = path(leaf)
        assert leaf.prompt == i
        assert stretches[0].start == start_of[i]
        assert stretches[-1].end == len(prompts[i])
        assert all(a.end == b.start for a, b in pairwise(stretches))
        assert all(s.start < s.end for s in stretches)
        for s in stretches[:-1]:
            assert prompts[s.prompt][: s.end] == prompts[i][: s.end]
            assert family_of[s.prompt] == family_of[i]
        depths = [level_of[s] for s in stretches[:-1]]
        assert depths == sorted(set(depths))
        users.update(stretches[:-1])
    assert set(users) == set(nodes)
    assert all((s.end - s.start) * (n - 1) >= prefix.WORTH for s, n in users.items())
    assert_nothing_worth_sharing_is_left(prompts, families, leaves)
    return sum(s.end - s.start for s in (*nodes, *leaves))


def assert_nothing_worth_sharing_is_left(prompts: list[Tokens], families: list[Family], leaves: list[Stretch]) -> None:
    """Wherever prompts go on from the same place, no common beginning that would save enough is computed apart."""
    for start, *members in families:
        below: dict[tuple[Stretch | None, int], dict[int, Stretch]] = {}
        for m in members:
            parent, place = None, start
            for s in path(leaves[m]):
                below.setdefault((parent, place), {})[m] = s
                parent, place = s, s.end
        for (_, anchor), stretch_of in below.items():
            for m in stretch_of:
                for end in range(anchor + 1, len(prompts[m])):
                    same = [o for o in stretch_of if len(prompts[o]) > end and prompts[o][:end] == prompts[m][:end]]
                    if (end - anchor) * (len(same) - 1) >= prefix.WORTH:
                        assert len({stretch_of[o] for o in same}) == 1


def draw(random: Random, count: int) -> list[Tokens]:
    """Distinct prompts over few tokens, so that they share much; some are beginnings of others."""
    made: dict[Tokens, None] = {}
    while len(made) < count:
        head = random.choice([*made, ()])[: random.randint(0, 12)]
        made[(*head, *random.choices((1, 2), k=random.randint(1, 8)))] = None
    return list(made)


@pytest.mark.parametrize("worth", [1, 3, 8, 16])
def test_random_prompts(monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr(prefix, "WORTH", worth)
    random, saved = Random(worth), 0
    for _ in range(60):
        prompts = draw(random, random.randint(1, 9))
        computed = check(prompts, [(0, *range(len(prompts)))])
        saved += sum(map(len, prompts)) - computed
        if worth == 1:  # each distinct beginning once, and the last token of each prompt by itself
            beginnings = {p[:i] for p in prompts for i in range(1, len(p))}
            assert computed == len(beginnings) + len(prompts)
    assert saved > 0


@pytest.mark.parametrize("worth", [1, 8])
def test_random_families_share_only_among_themselves(monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr(prefix, "WORTH", worth)
    random = Random(worth)
    for _ in range(40):
        prompts: list[Tokens] = []
        families: list[Family] = []
        for _ in range(random.randint(1, 3)):
            head = tuple(random.choices((1, 2), k=random.randint(0, 6)))
            members = [head + p for p in draw(random, random.randint(1, 5))]
            families.append((len(head), *range(len(prompts), len(prompts) + len(members))))
            prompts += members
        check(prompts, families)


def test_prompts_that_begin_alike_become_one_node() -> None:
    head = tuple(range(20))
    prompts = [(*head, 50, 51), (*head, 60), (*head, 70, 71, 72)]
    levels, leaves = tree(prompts, [(0, 0, 1, 2)])
    assert levels == [[Stretch(0, 0, 20)]]
    assert leaves == [Stretch(i, 20, len(p), levels[0][0]) for i, p in enumerate(prompts)]


def test_a_beginning_of_another_prompt_keeps_its_last_token_to_itself() -> None:
    long = tuple(range(40))
    levels, leaves = tree([long[:30], long], [(0, 0, 1)])
    assert levels == [[Stretch(0, 0, 29)]]
    assert leaves == [Stretch(0, 29, 30, levels[0][0]), Stretch(1, 29, 40, levels[0][0])]


def test_nothing_is_shared_across_families_or_before_the_start() -> None:
    head = tuple(range(40))
    prompts = [(*head, 50), (*head, 60), (*head, 70), (*head, 80)]
    assert tree(prompts, [(0, 0), (0, 1), (40, 2, 3)]) == (
        [],
        [Stretch(0, 0, 41), Stretch(1, 0, 41), Stretch(2, 40, 41), Stretch(3, 40, 41)],
    )


@pytest.mark.parametrize(("length", "count", "nodes"), [(15, 2, 0), (16, 2, 1), (8, 3, 1), (7, 3, 0), (1, 17, 1)])
def test_a_node_must_save_enough(length: int, count: int, nodes: int) -> None:
    prompts = [(*range(length), 100 + i, 7) for i in range(count)]
    levels, _ = tree(prompts, [(0, *range(count))])
    assert sum(map(len, levels)) == nodes


def test_common_beginning() -> None:
    assert common([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common([1, 2], (1, 2, 3)) == 2
    assert common([], [1]) == 0
    assert common([2], [1]) == 0


def test_longest_prefix() -> None:
    held = [[1, 2, 3, 4, 5], [1, 2, 9], [1, 2, 3], [7]]
    cache = KVCache(Layout((0,), 1, 1, torch.float32, torch.device("cpu")), 4)
    prompts = Prompts(held, cache, torch.zeros(4, 10))
    assert prompts.longest_prefix((1, 2, 3, 4, 8)) == Prefix(cache, 0, 4)
    assert prompts.longest_prefix((1, 2, 3)) == Prefix(cache, 2, 3)
    assert prompts.longest_prefix((1, 2, 9, 1)) == Prefix(cache, 1, 3)
    assert prompts.longest_prefix((7, 7)) == Prefix(cache, 3, 1)
    assert prompts.longest_prefix((8,)) is None
    assert prompts.longest_prefix(()) is None


def test_longest_beginnings_are_those_of_a_search_through_all_and_those_who_share_one_have_the_same() -> None:
    draw = Random(0)
    prompts = [tuple(draw.choices(range(3), k=draw.randint(1, 8))) for _ in range(60)]
    beginnings = Beginnings(prompts)
    holders: dict[tuple[int, ...], int] = {}
    for _ in range(500):
        wanted = tuple(draw.choices(range(4), k=draw.randint(0, 10)))
        row, length = beginnings.longest(wanted)
        assert length == max(common(wanted, prompt) for prompt in prompts)
        if length:
            assert prompts[row][:length] == wanted[:length]
            assert holders.setdefault(wanted[:length], row) == row
    assert Beginnings([]).longest((1, 2)) == (0, 0)


def test_what_is_held_of_a_prompt_is_not_computed_again() -> None:
    prompts = [tuple(range(30)), (*range(20), 77, 78), (5, 6, 7)]
    levels, leaves = divide(prompts, [("a", 20), ("a", 20), None])
    assert levels == []
    assert leaves == [Stretch(0, 20, 30), Stretch(1, 20, 22), Stretch(2, 0, 3)]


@pytest.mark.parametrize("held", [29, 30, 99])
def test_the_last_token_is_computed_even_of_a_prompt_that_is_held_in_full(held: int) -> None:
    assert divide([tuple(range(30))], [("a", held)]) == ([], [Stretch(0, 29, 30)])


def test_only_prompts_that_go_on_from_the_same_place_share() -> None:
    head = tuple(range(40))
    prompts = [(*head, 50), (*head, 60), (*head, 70), (*head, 80)]
    levels, _ = divide(prompts, [("a", 10), ("a", 10), ("b", 10), None])
    assert levels == [[Stretch(0, 10, 40)]]
    assert divide(prompts, [("a", 10), ("a", 11), ("b", 10), None])[0] == []
    assert divide(prompts, [None] * 4)[0] == [[Stretch(0, 0, 40)]]


@pytest.mark.parametrize("worth", [1, 8])
def test_random_prompts_of_which_something_is_held(monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr(prefix, "WORTH", worth)
    random = Random(worth)
    for _ in range(40):
        prompts = draw(random, random.randint(1, 9))
        known = [random.choice([None, (random.choice("ab"), random.randint(1, len(p)))]) for p in prompts]
        starts = [
            (None, 0) if k is None else (k[0], min(k[1], len(p) - 1)) for k, p in zip(known, prompts, strict=True)
        ]
        families = [
            (start[1], *(i for i, other in enumerate(starts) if other == start)) for start in dict.fromkeys(starts)
        ]
        assert divide(prompts, known) == tree(prompts, families)

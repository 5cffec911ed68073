"""The tests that a statistical race decides by: how often they are wrong."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from litestage.plan import Plan
from litestage.search.race import PAIRS, Runner, chance_of_losses, leader, slower


def runner(each: list[float], n: int = 200) -> Runner:
    made = Runner(Plan("m", 6, {}), n, 0)
    made.each = each
    return made


def test_the_fastest_leads_on_what_all_have_answered() -> None:
    quick, slow = runner([1.0, 1.0, 9.0]), runner([2.0, 1.0])
    assert leader([slow, quick]) is quick
    assert leader([slow, runner([2.0, 1.0])]) is slow  # of equals the first


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_equally_fast_plans_are_called_slower_at_most_so_often(error: float) -> None:
    draw, runs = random.Random(0), 2000
    sample = lambda: [draw.gauss(1, 0.3) for _ in range(40)]  # noqa: E731
    called = sum(slower(runner(sample()), runner(sample()), error) for _ in range(runs))
    assert called / runs == pytest.approx(error, abs=0.02)


def test_few_questions_decide_nothing() -> None:
    assert not slower(runner([9.0] * (PAIRS - 1)), runner([1.0] * PAIRS), 0.05)
    assert slower(runner([9.0] * PAIRS), runner([1.0] * PAIRS), 0.05)
    assert not slower(runner([1.0] * PAIRS), runner([1.0] * PAIRS), 0.05)


def test_what_both_take_long_for_does_not_blur_the_difference() -> None:
    """Pairs: questions differ far more than the plans do."""
    long = [float(i) for i in range(40)]
    assert slower(runner([x + 0.1 + 0.01 * (x % 2) for x in long]), runner(long), 0.01)
    assert not slower(runner([x + 0.1 for x in reversed(long)]), runner(long), 0.01)


@pytest.mark.parametrize("questions", [1, 4, 7])
def test_chance_of_losses_counts_all_draws(questions: int) -> None:
    for allowed in range(questions + 1):
        for seen in range(questions + 1):
            draws = [sum(i < allowed for i in drawn) for drawn in combinations(range(questions), seen)]
            for losses in range(seen + 1):
                want = sum(lost >= losses for lost in draws) / len(draws)
                assert chance_of_losses(losses, seen, allowed, questions) == pytest.approx(want, abs=1e-12)


def test_chance_of_losses_agrees_with_an_urn() -> None:
    draw, urn = random.Random(0), [1] * 30 + [0] * 170
    for losses in (6, 10, 14):
        often = sum(sum(draw.sample(urn, 60)) >= losses for _ in range(4000)) / 4000
        assert chance_of_losses(losses, 60, 30, 200) == pytest.approx(often, abs=0.03)


def test_more_losses_than_can_be_gained_back_are_impossible() -> None:
    assert chance_of_losses(0, 10, -1, 50) == 0.0
    assert chance_of_losses(4, 10, 3, 50) == 0.0
    assert chance_of_losses(0, 10, 3, 50) == 1.0

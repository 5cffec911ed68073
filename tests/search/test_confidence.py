"""Intervals of a plan against full depth, over the questions it was searched on; and when those are too few."""

from __future__ import annotations

import random
from math import ceil
from typing import Any

import pytest

from litestage.plan import Plan
from litestage.search.confidence import intervals, questions_needed
from litestage.search.trial import Trial

PLAN = Plan("m", 0, {})


def trial(right: str, each: list[float] | None = None) -> Trial:
    """`right` has a letter a question: y, or n."""
    each = each or [1.0] * len(right)
    answers = {f"q{i}": letter == "y" for i, letter in enumerate(right)}
    return Trial(PLAN, len(right), answers, {"recall": sum(each) / len(each)}, each=each)


def pair(count: int, seed: int) -> tuple[Trial, Trial]:
    """Full depth is right on 80 %; the plan differs on a quarter of the questions, and takes half the time."""
    draw = random.Random(seed)
    before = ["y" if draw.random() < 0.8 else "n" for _ in range(count)]
    after = [draw.choice("yn") if draw.random() < 0.25 else letter for letter in before]
    each = [draw.uniform(1, 3) for _ in range(count)]
    return trial("".join(before), each), trial("".join(after), [s * draw.uniform(0.3, 0.7) for s in each])


def width(found: dict[str, Any], name: str) -> float:
    return found[name]["high"] - found[name]["low"]


@pytest.mark.parametrize("seed", range(10))
def test_an_interval_holds_the_value_it_is_of(seed: int) -> None:
    full, final = pair(40, seed)
    found = intervals(full, final, 0)
    assert found["accuracy_change"]["value"] == pytest.approx(final.accuracy - full.accuracy)
    assert found["speedup"]["value"] == pytest.approx(full.seconds / final.seconds)
    for name in ("accuracy_change", "speedup"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert (found["level"], found["n"]) == (0.95, 40)


def test_a_seed_gives_the_same_interval() -> None:
    full, final = pair(40, 0)
    assert intervals(full, final, 3) == intervals(full, final, 3)
    assert intervals(full, final, 3) != intervals(full, final, 4)


@pytest.mark.parametrize("name", ["accuracy_change", "speedup"])
def test_intervals_shrink_with_the_root_of_n(name: str) -> None:
    few, many = (intervals(*pair(count, 0), 0) for count in (50, 800))
    assert width(many, name) == pytest.approx(width(few, name) / 4, rel=0.35)


def test_most_intervals_hold_what_is_true() -> None:
    """The plan loses 4 % of the answers and gains 2 % in truth: a change of -0.02."""
    draw, held = random.Random(0), 0
    for seed in range(40):
        kinds = draw.choices(["yy", "yn", "ny", "nn"], [0.74, 0.04, 0.02, 0.2], k=200)
        full, final = (trial("".join(kind[i] for kind in kinds)) for i in (0, 1))
        change = intervals(full, final, seed)["accuracy_change"]
        held += change["low"] <= -0.02 <= change["high"]
    assert 34 <= held < 40


def test_questions_are_resampled_in_pairs() -> None:
    """The plan is always twice as fast, however long a question takes; and always as right."""
    draw = random.Random(0)
    each = [draw.uniform(1, 100) for _ in range(30)]
    right = "".join(draw.choice("yn") for _ in each)
    found = intervals(trial(right, each), trial(right, [s / 2 for s in each]), 0)
    assert found["speedup"] == pytest.approx({"value": 2.0, "low": 2.0, "high": 2.0})
    assert found["accuracy_change"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_an_answer_counts_for_its_question_whatever_the_order() -> None:
    full, final = trial("yyyn"), trial("nyyy")
    shuffled = Trial(PLAN, 4, dict(reversed(final.right.items())), final.latency, each=final.each)
    assert intervals(full, shuffled, 0) == intervals(full, final, 0)
    assert questions_needed(full, shuffled, 0.01) == questions_needed(full, final, 0.01)


def test_one_question_is_enough_for_an_interval() -> None:
    found = intervals(trial("y", [2.0]), trial("n", [1.0]), 0)
    assert found["accuracy_change"] == {"value": -1.0, "low": -1.0, "high": -1.0}
    assert found["speedup"]["low"] == found["speedup"]["high"] == 2.0


def needed(losses: int, gains: int, count: int, eps: float) -> int | None:
    before = "y" * losses + "n" * gains + "y" * (count - losses - gains)
    after = "n" * losses + "y" * gains + "y" * (count - losses - gains)
    return questions_needed(trial(before), trial(after), eps)


def test_nothing_more_is_needed_when_there_are_enough() -> None:
    assert needed(5, 5, 1000, 0.01) is None
    assert needed(5, 5, 100, 0.1) is None


def test_what_is_needed_makes_the_interval_as_narrow_as_eps() -> None:
    count = needed(10, 10, 100, 0.02)
    assert count is not None
    variance = 20 / 99  # of changes of -1, 0 and 1 around 0
    assert count == ceil(1.96**2 * variance / 0.02**2)
    assert 1.96 * (variance / count) ** 0.5 <= 0.02 < 1.96 * (variance / (count - 1)) ** 0.5
    found = intervals(
        trial("yn" * (count // 10) + "y" * (count * 8 // 10)), trial("ny" * (count // 10) + "y" * (count * 8 // 10)), 0
    )
    assert width(found, "accuracy_change") == pytest.approx(0.04, rel=0.1)


def test_more_differences_need_more_questions_and_so_does_a_smaller_eps() -> None:
    counts = [needed(n, n, 100, 0.02) or 0 for n in (4, 8, 16, 32)]
    assert counts == sorted(set(counts))
    assert counts[0] > 100
    assert needed(4, 4, 100, 0.01) == pytest.approx(4 * counts[0], abs=4)


@pytest.mark.parametrize(("count", "want"), [(299, 300), (300, None), (301, None), (10, 300)])
def test_where_nothing_differs_the_rule_of_three_holds(count: int, want: int | None) -> None:
    """None of n differs: then with 95 % at most 3 / n do."""
    assert needed(0, 0, count, 0.01) == want


def test_one_question_tells_nothing() -> None:
    assert needed(1, 0, 1, 0.01) == ceil(1.96**2 / 0.01**2)


def test_without_slack_no_number_of_questions_is_enough_to_ask_for() -> None:
    assert needed(10, 10, 100, 0.0) is None

"""Numbers in words."""

from __future__ import annotations

import pytest

from litestage.report.words import accuracy, ballot, ballots, budget, is_control, percent, points, rated, speed


def test_shares_and_changes() -> None:
    assert percent(0.9425) == "94.2"
    assert [points(change) for change in (-0.01, 0.0, 0.0225)] == ["−1.0", "+0.0", "+2.2"]


@pytest.mark.parametrize(
    ("sublayers", "text"),
    [
        (0, "0 sub-layers (0 full layers)"),
        (1, "1 sub-layer (0.5 full layers)"),
        (2, "2 sub-layers (1 full layer)"),
        (7, "7 sub-layers (3.5 full layers)"),
    ],
)
def test_budgets_in_both_units(sublayers: int, text: str) -> None:
    assert budget(sublayers) == text


def test_numbers_that_belong_together_stay_on_a_line() -> None:
    method = {"accuracy": 0.652, "accuracy_stderr": 0.0213}
    assert speed({"median": 1.307, "low": 1.27, "high": 1.36}) == "1.31\xa0[1.27,\xa01.36]"
    assert accuracy(method) == "65.2\xa0±\xa02.1"
    assert rated(method) == "65.2\xa0±\xa02.1\xa0%"


def test_ballots_and_controls() -> None:
    assert [ballot(n) for n in (1, 10)] == ["one greedy pass", "vote of 10 attempts"]
    assert [is_control(name) for name in ("full depth", "full depth (control)", "adaskip")] == [False, True, False]


def test_ballots_of_methods_are_named_once() -> None:
    assert ballots([{"attempts": 10}, {"attempts": 1}, {"attempts": 10}]) == "vote of 10 attempts or one greedy pass"

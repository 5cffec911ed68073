from __future__ import annotations

from litestage.records import Rationale
from litestage.text.teacher.spread import distance, spread


def made(recall: str) -> Rationale:
    return Rationale("t1", {"recall": {"": recall}, "analyze": {"A": "x.", "B": "y."}})


NEAR, SAME, FAR, MIDDLE = "wood floats on water", "wood floats on  water", "iron is heavy", "wood drifts on water"


def test_the_farthest_is_chosen_and_the_order_stays() -> None:
    found = [made(text) for text in (NEAR, SAME, MIDDLE, FAR)]
    assert spread(found, 2) == [found[0], found[3]]
    assert spread(found, 3) == [found[0], found[2], found[3]]


def test_what_says_the_same_is_chosen_once() -> None:
    assert spread([made(NEAR), made(SAME), made(NEAR)], 3) == [made(NEAR)]


def test_there_may_be_fewer() -> None:
    assert spread([], 2) == []
    assert spread([made(NEAR)], 2) == [made(NEAR)]
    assert spread([made(NEAR), made(FAR)], 0) == []


def test_distance() -> None:
    assert distance(["a", "b"], ["a", "b"]) == 0
    assert distance(["a", "b"], ["c"]) == 1
    assert distance(["a", "b"], ["a", "c"]) == 0.5

from __future__ import annotations

import pytest

from litestage.text.votes import vote


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["A", "B", "B"], "B"),
        (["B", "A", "A", "B"], "B"),
        (["C", "A", "A", "B", "B"], "A"),
        ([None, None, None, "D"], "D"),
        ([None, "B", "A"], "B"),
        ([None, None], None),
        ([], None),
    ],
)
def test_winner(answers: list[str | None], expected: str | None) -> None:
    assert vote("q1", answers).answer == expected


def test_counts() -> None:
    verdict = vote("q1", ["B", None, "A", "B", None])
    assert verdict.question_id == "q1"
    assert verdict.votes == {"B": 2, "A": 1}
    assert verdict.unparsed == 2

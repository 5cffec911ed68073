from __future__ import annotations

import pytest

from litestage.config import ReasoningSettings
from litestage.text.answers import parse

PATTERN = ReasoningSettings().answer_pattern


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So the answer is option B.", "B"),
        ("the answer is option A. So the answer is option B.", "A"),
        ("So the answer is option B", None),
        ("So the answer is option E.", None),
        ("So the answer is option E. So the answer is option A.", None),
        ("So the answer is option b.", None),
        ("So the answer is option BC.", None),
        ("", None),
    ],
)
def test_parse(text: str, expected: str | None) -> None:
    assert parse(text, PATTERN, {"A": "a nail", "B": "a log"}) == expected


def test_pattern_of_the_user() -> None:
    assert parse("Answer: (C)", r"Answer: \((\w)\)", "ABC") == "C"


def test_optional_group_that_did_not_match() -> None:
    assert parse("none", r"none|option ([A-Z])", "AB") is None


def test_pattern_without_a_group() -> None:
    with pytest.raises(ValueError, match=r"'option \[A-Z\]' has no group"):
        parse("option A", "option [A-Z]", "AB")

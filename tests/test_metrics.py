"""Scores by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from litestage.metrics import Score, score, tokens_per_question
from litestage.records import Attempt, Question, StageOutput

OPTIONS = {"A": "a nail", "B": "a log"}


def ask(*gold: str | None) -> list[Question]:
    return [Question(f"q{i}", "Which floats?", OPTIONS, answer) for i, answer in enumerate(gold)]


def attempts_of(question: int, *answers: str | None) -> list[Attempt]:
    return [Attempt(f"q{question}", number, (), answer) for number, answer in enumerate(answers)]


def test_accuracy_and_its_standard_error() -> None:
    questions = ask("A", "B", "A", "B")
    attempts = [a for i, answer in enumerate(["A", "B", "A", "A"]) for a in attempts_of(i, answer)]
    assert score(questions, attempts) == Score(0.75, pytest.approx(sqrt(0.75 * 0.25 / 4)), 4, 0.0)


def test_the_standard_error_counts_questions_not_attempts() -> None:
    attempts = attempts_of(0, "A", "A", "A") + attempts_of(1, "A", "A", "A")
    assert score(ask("A", "B"), attempts) == Score(0.5, pytest.approx(sqrt(0.25 / 2)), 2, 0.0)


def test_attempts_vote_and_unparsed_ones_do_not() -> None:
    attempts = attempts_of(0, None, "B", None) + attempts_of(1, "A", "B", "B") + attempts_of(2, None, None, None)
    assert score(ask("B", "B", "A"), attempts) == Score(
        pytest.approx(2 / 3), pytest.approx(sqrt(2 / 9 / 3)), 3, pytest.approx(5 / 9)
    )


def test_a_tie_goes_to_the_answer_seen_first() -> None:
    attempts = attempts_of(0, "B", "A", "A", "B")
    assert score(ask("B"), attempts).accuracy == 1.0
    assert score(ask("A"), attempts).accuracy == 0.0


def test_the_order_of_attempts_of_different_questions_is_free() -> None:
    first, second = attempts_of(0, "A", "B", "A"), attempts_of(1, "B", "B", "A")
    mixed = [attempt for pair in zip(second, first, strict=True) for attempt in pair]
    assert score(ask("A", "B"), mixed) == score(ask("A", "B"), first + second)


def test_no_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="no questions to score"):
        score([], [])


def test_a_question_without_gold_is_named() -> None:
    with pytest.raises(ValueError, match=r"question q1 has no gold answer \(2 in all\)"):
        score(ask("A", None, None), attempts_of(0, "A"))


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        (attempts_of(0, "A"), r"differ: \['q1'\] \(1 in all\) are in one only"),
        (attempts_of(0, "A") + attempts_of(1, "A") + attempts_of(7, "A"), r"differ: \['q7'\]"),
        ([], r"differ: \['q0', 'q1'\]"),
    ],
)
def test_attempts_at_other_questions_are_refused(attempts: list[Attempt], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(ask("A", "B"), attempts)


def test_tokens_of_a_fan_out_are_added_up() -> None:
    def attempt(recall: int, *analyze: int) -> Attempt:
        outputs = [StageOutput("recall", "", "", "", recall, "eos")]
        outputs += [StageOutput("analyze", label, "", "", n, "cap") for label, n in zip("ABC", analyze, strict=False)]
        return Attempt("q0", 0, tuple(outputs), None)

    means = tokens_per_question([attempt(4, 5, 6), attempt(8, 1, 2, 3)], ["recall", "analyze", "last"])
    assert means == {"recall": 6.0, "analyze": 8.5, "last": 0.0}

"""What attempts are worth: accuracy with its standard error, unparsed rate, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from litestage.pipeline import by_question
from litestage.records import Attempt, Question
from litestage.text.votes import vote


@dataclass(frozen=True)
class Score:
    """Accuracy of the vote over `n` questions, with its binomial standard error, and the share of unparsed attempts."""

    accuracy: float
    stderr: float
    n: int
    unparsed_rate: float


def score(questions: Sequence[Question], attempts: Sequence[Attempt]) -> Score:
    """Score attempts against gold labels.

    Raises:
        ValueError: no questions, one without a gold label, or attempts that are not at exactly these questions.
    """
    gold = {q.id: q.answer for q in questions}
    if not gold:
        raise ValueError("no questions to score")
    missing = [id_ for id_, answer in gold.items() if answer is None]
    if missing:
        raise ValueError(f"question {missing[0]} has no gold answer ({len(missing)} in all)")
    differing = sorted(gold.keys() ^ {a.question_id for a in attempts})
    if differing:
        raise ValueError(f"attempts and questions differ: {differing[:3]} ({len(differing)} in all) are in one only")
    verdicts = [vote(id_, [a.answer for a in group]) for id_, group in by_question(attempts)]
    right = sum(v.answer == gold[v.question_id] for v in verdicts)
    accuracy = right / len(verdicts)
    stderr = sqrt(accuracy * (1 - accuracy) / len(verdicts))
    return Score(accuracy, stderr, len(verdicts), sum(a.answer is None for a in attempts) / len(attempts))


def tokens_per_question(attempts: Sequence[Attempt], stages: Sequence[str]) -> Mapping[str, float]:
    """Mean generated tokens of one attempt per stage, all options of a fan-out added up."""
    totals = dict.fromkeys(stages, 0)
    for attempt in attempts:
        for output in attempt.outputs:
            totals[output.stage] += output.tokens
    return {name: total / len(attempts) for name, total in totals.items()}

"""Self-consistency: the majority over a question's attempts (Wang et al., arXiv 2203.11171).

vote("q1", ["B", None, "A", "B"]).answer  # "B"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from litestage.records import Verdict


def vote(question_id: str, answers: Sequence[str | None]) -> Verdict:
    """Majority of the parsed answers; a tie goes to the answer seen first.

    Unparsed answers (`None`) have no vote: one parsed answer beats any number of them.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    winner = max(votes, key=lambda label: votes[label], default=None)  # counters keep the order of first sight
    return Verdict(question_id, winner, dict(votes), answers.count(None))

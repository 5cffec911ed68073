"""A plan in a race, and the two ways to tell early, by chance, that it will not win.

Nothing here runs the model: `Objective.race` does, and asks this module who goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist, fmean, stdev

from litestage.plan import Plan
from litestage.records import Attempt, Question
from litestage.search.trial import Stopped

PAIRS = 16
"""Questions that two plans must both have answered before one is called the slower."""


class Runner:
    """A plan in a race over `n` questions that it must get `needed` of right."""

    def __init__(self, plan: Plan, n: int, needed: int) -> None:
        self.plan, self.n, self.needed = plan, n, needed
        self.right: dict[str, bool] = {}
        self.attempts: dict[str, Attempt] = {}
        self.each: list[float] = []
        """Estimated seconds of the questions so far, in the order of the race; filled by statistical races."""
        self.chunks = 0
        """Chunks answered."""
        self.stopped: Stopped = ""

    @property
    def done(self) -> bool:
        """Whether all questions are answered."""
        return len(self.right) == self.n

    @property
    def could_reach(self) -> int:
        """Right answers if all the rest were right."""
        return sum(self.right.values()) + self.n - len(self.right)

    def take(self, questions: Sequence[Question], attempts: Sequence[Attempt]) -> None:
        """Take the answers to a chunk of questions."""
        for question, attempt in zip(questions, attempts, strict=True):
            self.right[question.id] = attempt.answer is not None and attempt.answer == question.answer
            self.attempts[question.id] = attempt
        self.chunks += 1

    def hopeless(self, error: float) -> bool:
        """Whether a plan that reaches the accuracy would look this bad with a probability below `error`.

        The questions come in random order.
        """
        wrong = sum(not ok for ok in self.right.values())
        return chance_of_losses(wrong, len(self.right), self.n - self.needed, self.n) < error


def leader(runners: Sequence[Runner]) -> Runner:
    """The fastest so far, on the questions that all have answered; of equals the first."""
    common = min(len(runner.each) for runner in runners)
    return min(runners, key=lambda runner: sum(runner.each[:common]))


def slower(mine: Runner, best: Runner, error: float) -> bool:
    """Whether a plan takes longer a question than another, by a paired z-test at level `error` on random questions."""
    differences = [a - b for a, b in zip(mine.each, best.each, strict=False)]
    if len(differences) < PAIRS:
        return False
    return fmean(differences) > NormalDist().inv_cdf(1 - error) * stdev(differences) / sqrt(len(differences))


def chance_of_losses(losses: int, seen: int, allowed: int, questions: int) -> float:
    """Probability of at least so many losses among `seen` random ones of `questions` that hold `allowed` losses.

    The upper tail of the hypergeometric distribution: a plan with more losses in store would show even more of them.
    """
    if allowed < 0:
        return 0.0
    top = min(allowed, seen)
    ways = sum(comb(allowed, k) * comb(questions - allowed, seen - k) for k in range(losses, top + 1))
    return ways / comb(questions, seen)

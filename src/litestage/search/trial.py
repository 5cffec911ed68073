"""One plan, tried: what it got right, what it would cost, or why it was given up.

trial.accuracy, trial.seconds, trial.reaches(needed=370)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from litestage.plan import Plan
from litestage.records import Attempt

Stopped = Literal["", "accuracy", "latency", "chance", "slower"]
"""Why a plan left a race: it cannot reach the accuracy, cannot beat the latency, most probably misses the accuracy, or
most probably is slower than the best. Empty for a plan that answered everything."""


@dataclass(frozen=True)
class Trial:
    """One plan, tried. Latencies are predicted seconds; those of a plan that left a race are not known."""

    plan: Plan
    n: int
    right: Mapping[str, bool]
    """Question id -> whether the answer was right; the questions answered."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Stage -> seconds a question."""
    decoding: float = 0.0
    """Seconds a question that decoding takes of it."""
    tokens: Mapping[str, float] = field(default_factory=dict)
    """Stage -> generated tokens a question."""
    each: Sequence[float] = ()
    """Seconds of every question."""
    attempts: Sequence[Attempt] = ()
    """The answers, in the order of the questions."""
    stopped: Stopped = ""

    @property
    def accuracy(self) -> float:
        """Share answered right; of a plan that left, what it could have reached at most."""
        return (sum(self.right.values()) + self.n - len(self.right)) / self.n

    def summary(self) -> dict[str, Any]:
        """The trial in a few plain values."""
        stages = self.plan.to_json()["stages"]
        numbers = {"accuracy": self.accuracy, "latency": dict(self.latency), "tokens": dict(self.tokens)}
        return {"stages": stages, "answered": len(self.right), "n": self.n, "stopped": self.stopped, **numbers}

    def reaches(self, needed: int) -> bool:
        """Whether the plan answered everything and so many of it right."""
        return not self.stopped and sum(self.right.values()) >= needed

    @property
    def seconds(self) -> float:
        """End-to-end latency a question."""
        return sum(self.latency.values()) if self.latency else float("inf")


@dataclass
class Spent:
    """Tokens computed so far."""

    prefill: int = 0
    generated: int = 0

"""Numbers and states in the words of the page.

percent(0.942)     # "94.2"
budget(3)          # "3 sub-layers (1.5 full layers)"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FULL = "full depth"
PLAN, PLAN_WITHOUT_EXIT = "litestage", "litestage without exit"
NBSP = "\xa0"
"""A space where no line ends."""

GIVEN_UP = {
    "accuracy": "it could not reach the target any more",
    "latency": "it could not be the fastest any more",
    "chance": "it would most probably miss the target",
    "slower": "it would most probably be slower than the best",
}
"""Why a search gave a trial up."""

STOPS = {
    "eos": "ended by itself",
    "confidence": "stopped early",
    "cap": "cut at the cap",
    "no room": "no room left",
}
"""Why an output ended."""


def percent(share: float) -> str:
    """A share in percent, one digit after the point."""
    return f"{100 * share:.1f}"


def points(change: float) -> str:
    """A change of a share in points, with its sign."""
    return f"{100 * change:+.1f}".replace("-", "−")


def budget(sublayers: int) -> str:
    """A budget in both units."""
    layers = sublayers / 2
    return f"{sublayers} sub-layer{'s' * (sublayers != 1)} ({layers:g} full layer{'s' * (layers != 1)})"


def speed(speedup: Mapping[str, float]) -> str:
    """Median, low and high."""
    return f"{speedup['median']:.2f} [{speedup['low']:.2f}, {speedup['high']:.2f}]".replace(" ", NBSP)


def accuracy(method: Mapping[str, Any]) -> str:
    """Accuracy with its standard error, in percent; the sign is the caller's."""
    return f"{percent(method['accuracy'])} ± {percent(method['accuracy_stderr'])}".replace(" ", NBSP)


def rated(method: Mapping[str, Any]) -> str:
    """`accuracy` with the sign."""
    return f"{accuracy(method)}{NBSP}%"


def is_control(name: str) -> bool:
    """Whether a method is full depth once more."""
    return name != FULL and name.startswith(FULL)


def ballot(attempts: int) -> str:
    """How an answer comes about."""
    return f"vote of {attempts} attempts" if attempts > 1 else "one greedy pass"


def ballots(methods: Iterable[Mapping[str, Any]]) -> str:
    """How the answers of methods come about."""
    return " or ".join(dict.fromkeys(ballot(method["attempts"]) for method in methods))

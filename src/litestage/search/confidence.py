"""How sure the search can be of its plan: paired bootstrap over the questions it was searched on."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from litestage.search.trial import Trial

RESAMPLES = 2000
NORMAL = 1.96
"""Standard errors to either side of a mean that hold 95 %."""


def intervals(full: Trial, final: Trial, seed: int) -> dict[str, Any]:
    """Change of accuracy and predicted speed-up with their 95 % intervals, questions resampled in pairs.

    Both are those of the questions the plan was chosen on, so they flatter it a little: the test questions tell more.
    """
    draw = np.random.default_rng(seed).integers(0, full.n, (RESAMPLES, full.n))
    change = _changes(full, final)
    before, after = np.array(full.each), np.array(final.each)
    return {
        "accuracy_change": _interval(float(change.mean()), change[draw].mean(1)),
        "speedup": _interval(full.seconds / final.seconds, before[draw].sum(1) / after[draw].sum(1)),
        "level": 0.95,
        "n": full.n,
    }


def questions_needed(full: Trial, final: Trial, eps: float) -> int | None:
    """Questions it takes to tell a loss of `eps` from none, where the search had fewer; `None` when it had enough.

    Enough is: the 95 % interval of the paired change is no wider than eps to either side. Where the two never
    differ, the rule of three bounds how often they could.
    """
    if eps == 0:
        return None
    change = _changes(full, final)
    variance = float(change.var(ddof=1)) if full.n > 1 else 1.0
    needed = ceil(NORMAL**2 * variance / eps**2) if change.any() else ceil(3 / eps)
    return needed if needed > full.n else None


def _changes(full: Trial, final: Trial) -> np.ndarray:
    """1 where the plan is right and full depth is not, -1 the other way round, else 0."""
    return np.array([int(final.right[q]) - int(full.right[q]) for q in full.right])


def _interval(value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}

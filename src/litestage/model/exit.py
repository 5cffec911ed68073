"""Generation early exit (LiteStage, step 3): a row stops when its confidence fades."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from litestage.plan import ExitRule


def confidence_of(logits: Tensor) -> Tensor:
    """Maximum softmax probability `[B]` of logits `[B, V]`."""
    return logits.float().softmax(-1).amax(-1)


def first_exit(confidences: Sequence[float], rule: ExitRule) -> int | None:
    """After how many tokens the rule would stop a row of these confidences; `None` if it never does."""
    ends = range(rule.window, len(confidences) + 1)
    return next((n for n in ends if sum(confidences[n - rule.window : n]) / rule.window < rule.threshold), None)


class ExitWatch:
    """Remembers the last confidences of each row and says which rows stop.

    Confidence is that of the step that produced the token. From the `window`-th token on, a row whose mean over the
    last `window` tokens is below the threshold stops.
    """

    def __init__(self, rule: ExitRule, rows: int, device: torch.device) -> None:
        self.rule = rule
        self._seen = torch.zeros(rows, dtype=torch.long, device=device)
        self._last = torch.zeros(rows, rule.window, device=device)

    def update(self, confidence: Tensor) -> Tensor:
        """Take the confidences `[B]` of the newest tokens; return which rows stop, bool `[B]`."""
        self._last.scatter_(1, (self._seen % self.rule.window)[:, None], confidence[:, None])
        self._seen += 1
        return (self._seen >= self.rule.window) & (self._last.mean(-1) < self.rule.threshold)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._last, self._seen = self._last[rows], self._seen[rows]

    def restart(self, rows: Tensor) -> None:
        """Forget what these rows held: they begin anew."""
        self._seen[rows] = 0

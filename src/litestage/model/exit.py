"""Generation early exit (LiteStage, step 3): a row stops when its confidence fades."""

from __future__ import annotations

import torch
from torch import Tensor

from litestage.plan import ExitRule


class ExitWatch:
    """Remembers the last confidences of each row and says which rows stop.

    Confidence is the maximum softmax probability of the step that produced the token. From the `window`-th token on,
    a row whose mean over the last `window` tokens is below the threshold stops.
    """

    def __init__(self, rule: ExitRule, rows: int, device: torch.device) -> None:
        self.rule = rule
        self._seen = torch.zeros(rows, dtype=torch.long, device=device)
        self._last = torch.zeros(rows, rule.window, device=device)

    def update(self, logits: Tensor) -> Tensor:
        """Take the logits `[B, V]` that produced the newest tokens; return which rows stop, bool `[B]`."""
        confidence = logits.float().softmax(-1).amax(-1, keepdim=True)
        self._last.scatter_(1, (self._seen % self.rule.window)[:, None], confidence)
        self._seen += 1
        return (self._seen >= self.rule.window) & (self._last.mean(-1) < self.rule.threshold)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._last, self._seen = self._last[rows], self._seen[rows]

    def restart(self, rows: Tensor) -> None:
        """Forget what these rows held: they begin anew."""
        self._seen[rows] = 0

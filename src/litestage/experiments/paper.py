"""The paper's own numbers (arXiv 2510.14211), to be drawn beside ours: TinyLlama-1.1B, one A6000, votes of 10 attempts.

PUBLISHED["obqa"].frontier["adaskip"][0]      # (4.0, 63.2, 1.13): full layers, accuracy %, speed-up
"""

from __future__ import annotations

from dataclasses import dataclass, field

SOURCE = "paper, TinyLlama-1.1B, A6000"
MEASURED = "measured"
STAGES = ("recall", "analyze", "summarize")
"""What the paper's stages 1 to 3 are called here."""
PASSES = 63
"""Validation passes of the paper's search: 21 budgets in each of three stages."""


@dataclass(frozen=True)
class Published:
    """What the paper says of one benchmark."""

    full_depth: float
    """Accuracy in percent."""
    frontier: dict[str, list[tuple[float, float, float]]]
    """Method -> (mean skipped full layers, accuracy in percent, speed-up)."""
    budgets: dict[str, tuple[int, int, int]]
    """Setting -> full layers that recall, analyze and summarize skip (Table 2)."""
    hours: float
    """Of its search."""
    exit_saves: list[tuple[float, float]] = field(default_factory=list)
    """(Mean skipped full layers, decode steps that early exit saves in percent), Fig. 6."""


PUBLISHED = {
    "obqa": Published(
        64.0,
        {
            "litestage": [(3.7, 62.8, 1.10), (6.3, 62.4, 1.25), (7.0, 60.0, 1.32)],
            "adaskip": [(4, 63.2, 1.13), (6, 39.8, 1.08), (7, 2.4, 1.14)],
            "unifiedskip": [(4, 55.6, 0.96), (6, 11.8, 1.10), (7, 11.8, 1.10)],
            "skipdecode": [(4, 64.0, 1.03), (6, 62.4, 1.03), (7, 62.6, 1.04)],
        },
        {"low": (2, 4, 5), "mid": (11, 4, 4), "high": (11, 6, 4)},
        2.7,
        [(4.0, 0.5), (7.0, 19.6)],
    ),
    "csqa": Published(
        54.8,
        {
            "litestage": [(2.3, 54.3, 1.09), (3.0, 53.0, 1.11), (4.3, 53.6, 1.16)],
            "adaskip": [(2, 53.6, 1.07), (3, 53.7, 1.08), (4, 54.0, 1.09)],
            "unifiedskip": [(2, 53.4, 1.04), (3, 47.0, 1.05), (4, 39.8, 0.76)],
            "skipdecode": [(2, 51.8, 1.05), (3, 51.8, 1.05), (4, 52.6, 1.05)],
        },
        {"low": (0, 3, 4), "mid": (0, 4, 5), "high": (4, 4, 5)},
        7.6,
    ),
    "strategyqa": Published(
        62.4,
        {
            "litestage": [(0.7, 61.6, 1.08), (9.3, 61.6, 1.65), (10.3, 62.0, 1.70)],
            "adaskip": [(1, 62.0, 1.06), (9, 0.0, 0.61), (10, 0.0, 1.12)],
            "unifiedskip": [(1, 62.4, 0.94), (9, 0.0, 0.54), (10, 0.0, 0.53)],
            "skipdecode": [(1, 62.4, 0.93), (9, 59.4, 0.73), (10, 61.1, 0.67)],
        },
        {"low": (0, 2, 0), "mid": (8, 19, 1), "high": (8, 20, 3)},
        1.0,
    ),
}
"""Benchmark -> numbers."""

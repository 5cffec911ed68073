"""Settings of the search for a plan, of comparing plans, and of showing results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from litestage.config.checks import counts, require
from litestage.plan import ExitRule


@dataclass
class SearchSettings:
    """How sub-layers are ranked and skip budgets are searched (LiteStage, steps 1 to 3)."""

    questions: int | None = None
    """Validation questions the search scores every budget on; null takes all."""
    importance_questions: int = 50
    """Validation questions the importance is averaged over."""
    eps: float = 0.01
    """Accuracy that may be lost against full depth, as a share (0.01 is one point)."""
    step: int = 2
    """Distance between tried budgets, in sub-layers."""
    max_budget: int | None = None
    """Largest tried budget, in sub-layers; null tries up to all."""
    latency: Literal["cost", "seconds"] = "cost"
    """What is minimised: seconds of the calibrated cost model, or measured ones."""
    exit_window: int = 5
    """Tokens whose mean confidence decides on early exit."""
    exit_threshold: float | None = 0.5
    """Mean confidence below which a row stops; null switches early exit off."""
    exit_stages: list[str] | None = None
    """Stages that may exit early; null means all but the last."""

    def __post_init__(self) -> None:
        require(0 <= self.eps < 1, f"search.eps is {self.eps}; it is a share of accuracy, from 0 to below 1")
        counts("search", self, "step", "importance_questions", "questions")
        require((self.max_budget or 0) >= 0, f"search.max_budget is {self.max_budget}; at least 0, or null for all")
        if self.exit_threshold is not None:
            ExitRule(self.exit_window, self.exit_threshold)  # says what is wrong with them


@dataclass
class EvaluateSettings:
    """How plans are compared on the test questions."""

    attempts: int = 10
    """Sampled passes per question that vote (self-consistency); 1 reports the greedy pass alone."""
    timed_questions: int | None = None
    """Test questions that are timed; null times all."""
    repeats: int = 3
    """Paired timing repeats; the methods take turns."""

    def __post_init__(self) -> None:
        counts("evaluate", self, "attempts", "repeats", "timed_questions")


@dataclass
class TrackingSettings:
    """Where results are shown."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """W&B mode. Offline runs lie under the run's folder; `wandb sync` uploads them."""
    project: str = "litestage"
    """W&B project."""
    samples: int = 8
    """Generated examples shown per table."""

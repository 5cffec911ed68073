"""Settings of the search for a plan, of comparing plans, and of showing results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from litestage.config.checks import counts, require
from litestage.plan import ExitRule

OWN = ("litestage", "litestage without exit")
"""What a search found, as it is and without its exit rules."""
PEERS = ("adaskip", "adaskip scaled", "unifiedskip", "skipdecode", "shortgpt", "every-mth", "random")
"""Methods with one budget for all stages."""
EXPERIMENTS = (
    "motivation", "entropy", "frontier", "budgets", "exit", "confidence",
    "importance", "dynamics", "example", "thresholds", "search-cost", "proxy",
)  # fmt: skip
"""Experiments of `evaluate.py`, in the order in which `all` makes them."""


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
    coarse: int = 1
    """Try every so many-th budget first, then all around the best of them; 1 tries all."""
    ranking: Literal["cosine", "cosine-stage", "loss", "greedy"] = "cosine"
    """What is skipped first. `cosine`: sub-layers that change the residual stream least, averaged over the stages (the
    paper). `cosine-stage`: each stage by its own. `loss`: those without which the loss on the stage's own outputs rises
    least. `greedy`: the same, each beside those before it."""
    per_second: bool = False
    """Rank by effect per second that leaving a sub-layer out saves; feed-forwards save more than attentions."""
    order: list[int] | None = None
    """Skip in this order, in every stage; null ranks. May be shorter than the model: the rest is never skipped."""
    prefill: bool = False
    """Try every budget also with skipping while the stage's own part of the prompt is read. Not in the paper."""
    racing: Literal["off", "exact", "statistical"] = "exact"
    """When a budget is given up. `off`: never. `exact`: when it cannot win any more, so the plan is the same.
    `statistical`: also when it would look this bad, or this slow, with a probability below `racing_error`."""
    racing_error: float = 0.05
    """Probability that a statistical race gives up the budget that would have won, for each budget."""
    exit_window: int = 5
    """Tokens whose mean confidence decides on early exit."""
    exit_threshold: float | None = 0.5
    """Mean confidence below which a row stops; null switches early exit off. Joins the plan at the end, if the target
    stands that and the plan gets no slower."""
    exit_candidates: list[float] = field(default_factory=list)
    """Thresholds that every budget is tried with, beside none; then `exit_threshold` is not used."""
    exit_quantile: float | None = None
    """One more threshold to try, each stage its own: so many of full depth's windows lie below it, as a share."""
    exit_stages: list[str] | None = None
    """Stages that may exit early; null means all but the last."""

    def __post_init__(self) -> None:
        require(0 <= self.eps < 1, f"search.eps is {self.eps}; it is a share of accuracy, from 0 to below 1")
        counts("search", self, "step", "importance_questions", "questions", "coarse", "exit_window")
        require((self.max_budget or 0) >= 0, f"search.max_budget is {self.max_budget}; at least 0, or null for all")
        require(0 < self.racing_error < 1, f"search.racing_error is {self.racing_error}; a probability between 0 and 1")
        require(
            self.exit_quantile is None or 0 <= self.exit_quantile <= 1,
            f"search.exit_quantile is {self.exit_quantile}; it is a share, from 0 to 1",
        )
        for threshold in (*self.exit_candidates, *([] if self.exit_threshold is None else [self.exit_threshold])):
            ExitRule(self.exit_window, threshold)  # says what is wrong with them

    @property
    def searches_exit(self) -> bool:
        """Whether exit rules are searched together with the budgets."""
        return bool(self.exit_candidates) or self.exit_quantile is not None


@dataclass
class EvaluateSettings:
    """How plans are compared on the test questions."""

    attempts: int = 10
    """Sampled passes per question that vote (self-consistency); 1 reports the greedy pass alone."""
    timed_questions: int | None = None
    """Test questions that are timed; null times all."""
    repeats: int = 3
    """Paired timing repeats; the methods take turns."""
    methods: list[str] = field(default_factory=lambda: [*OWN, "adaskip"])
    """What is compared with full depth: `litestage`, `litestage without exit`, and at the uniform budget nearest to the
    plan's mean `adaskip`, `adaskip scaled`, `unifiedskip`, `skipdecode`, `shortgpt`, `every-mth`, `random`."""
    experiment: str | None = None
    """An experiment of the paper to make in place of that comparison, or `all` of them; docs/experiments.md has the
    list."""

    def __post_init__(self) -> None:
        counts("evaluate", self, "attempts", "repeats", "timed_questions")
        unknown = [name for name in self.methods if name not in (*OWN, *PEERS)]
        require(not unknown, f"evaluate.methods has unknown {unknown}; known are {', '.join((*OWN, *PEERS))}")
        require(
            self.experiment in (None, "all", *EXPERIMENTS),
            f"evaluate.experiment is {self.experiment!r}; known are {', '.join(EXPERIMENTS)}, all of them with 'all', "
            "and null for the comparison of methods",
        )


@dataclass
class TrackingSettings:
    """Where results are shown."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """W&B mode. Offline runs lie under the run's folder; `wandb sync` uploads them."""
    project: str = "litestage"
    """W&B project."""
    samples: int = 8
    """Generated examples shown per table."""

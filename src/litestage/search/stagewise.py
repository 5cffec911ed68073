"""LiteStage's search (step 2): stage by stage, slowest first, the fastest budget that keeps the accuracy.

found = search(objective, orders, settings)
found.plan.budgets       # {"recall": 4, "analyze": 2, "summarize": 6}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

from litestage.config import SearchSettings
from litestage.plan import ExitRule, Plan
from litestage.search.objective import Objective
from litestage.search.policies import staged_plan
from litestage.search.trial import Trial

ROUNDING = 1e-9
"""Relative difference of seconds that are the same sum in another order."""


@dataclass(frozen=True)
class Choice:
    """What a stage may be given: a budget in sub-layers, an exit rule, whether prefill skips as well."""

    budget: int
    exit: ExitRule | None = None
    prefill: bool = False


@dataclass(frozen=True)
class Tried:
    """A trial of one stage's choice; `chosen` marks the one the search went on with."""

    stage: str
    choice: Choice
    trial: Trial
    feasible: bool
    chosen: bool


@dataclass(frozen=True)
class Found:
    """The plan and how it was found."""

    plan: Plan
    full_depth: Trial
    target: float
    tried: Sequence[Tried]
    final: Trial
    """The plan as saved, its early exit included."""
    exit_kept: bool
    """Whether the early exit stayed: it goes when it would break the target on the search's questions, or cost time."""


def budgets(most: int, settings: SearchSettings) -> range:
    """Budgets the search may try, in sub-layers; at most `most`."""
    top = most if settings.max_budget is None else min(settings.max_budget, most)
    return range(0, top + 1, settings.step)


def search(
    objective: Objective,
    orders: Mapping[str, Sequence[int]],
    settings: SearchSettings,
    report: Callable[[Tried], None] | None = None,
) -> Found:
    """Find the budget of every stage.

    Full depth gives accuracy A0 and a latency per stage; the target A0 - eps holds throughout. In order of falling
    latency each stage tries all budgets with the stages before it at their chosen ones and the rest at full depth.
    Of the budgets that reach the target the one of least end-to-end latency is taken, the smaller one on a tie.

    With `settings.exit_candidates` or `exit_quantile` every budget is tried with these exit rules too. Otherwise the
    fixed rule joins at the end, if the plan stays at the target with it and gets no slower: confidences cost time.

    Args:
        objective: tries plans.
        orders: stage -> all sub-layers, the first to skip first.
        settings: eps, budgets, exit rules.
        report: told of every trial of a stage once the stage is decided.

    Raises:
        ValueError: eps is above full depth's accuracy.
    """
    engine = objective.engine
    exits = _exits(engine.stage_names, settings)  # a bad rule is refused before anything is tried
    full = objective.trial(engine.full_depth())
    if settings.eps > full.accuracy:
        raise ValueError(f"search.eps is {settings.eps}, above full depth's accuracy of {full.accuracy:.4f}")
    target = full.accuracy - settings.eps
    # Accuracies are counts over n: compare them as such, or 0.47 would miss 0.52 - 0.05.
    needed = ceil(round(target * full.n, 6))
    chosen = dict.fromkeys(engine.stage_names, Choice(0))
    tried: list[Tried] = []
    best = full
    for stage in sorted(engine.stage_names, key=lambda name: -full.latency[name]):
        objective.rank_questions(best)
        contest = _Contest(objective, orders, chosen, stage, needed, settings, {Choice(0): best})
        contest.run(_candidates(objective, full, stage, settings))
        choice = contest.best()
        for candidate in sorted(contest.trials, key=_size):
            trial = contest.trials[candidate]
            tried.append(Tried(stage, candidate, trial, trial.reaches(needed), candidate == choice))
            if report:
                report(tried[-1])
        chosen[stage], best = choice, contest.trials[choice]
    kept = any(choice.exit for choice in chosen.values())
    if exits and not settings.searches_exit:
        with_exit = {name: replace(choice, exit=exits.get(name)) for name, choice in chosen.items()}
        final = objective.trial(_plan(objective, orders, with_exit))
        kept = final.reaches(needed) and final.seconds <= best.seconds * (1 + ROUNDING)
        best = final if kept else best
    return Found(best.plan, full, target, tried, best, kept)


@dataclass
class _Contest:
    """One stage's choices, tried beside each other; the other stages stay as `chosen`."""

    objective: Objective
    orders: Mapping[str, Sequence[int]]
    chosen: Mapping[str, Choice]
    stage: str
    needed: int
    settings: SearchSettings
    trials: dict[Choice, Trial]
    """What was tried; at first the choice that changes nothing."""

    def run(self, rules: Sequence[ExitRule | None]) -> None:
        """Try every `settings.coarse`-th budget with every rule, then the budgets around the best of them."""
        counts, coarse = budgets(len(self.orders[self.stage]), self.settings), self.settings.coarse
        self._try(counts[::coarse], rules)
        if coarse > 1:
            middle = counts.index(self.best().budget)
            self._try(counts[max(0, middle - coarse + 1) : middle + coarse], rules)

    def best(self) -> Choice:
        """Of the choices that reach the target the one of least latency, on a tie the smallest."""
        reached = [choice for choice, trial in self.trials.items() if trial.reaches(self.needed)]
        return min(reached, key=lambda choice: (self.trials[choice].seconds, *_size(choice)))

    def _try(self, counts: Sequence[int], rules: Sequence[ExitRule | None]) -> None:
        ways = product(counts, rules, (False, True) if self.settings.prefill else (False,))
        new = [choice for way in ways if (choice := Choice(*way)) not in self.trials and (way[0] or not way[2])]
        plans = [_plan(self.objective, self.orders, {**self.chosen, self.stage: choice}) for choice in new]
        best = self.trials[self.best()]
        self.trials |= zip(new, self.objective.race(plans, self.needed, best.seconds, best), strict=True)


def _size(choice: Choice) -> tuple[int, bool, float]:
    """Sorts choices: smaller budgets first, then those without skipping in prefill, then those without an exit rule."""
    return choice.budget, choice.prefill, choice.exit.threshold if choice.exit else -1.0


def _plan(objective: Objective, orders: Mapping[str, Sequence[int]], choices: Mapping[str, Choice]) -> Plan:
    counts = {name: choice.budget for name, choice in choices.items()}
    rules = {name: choice.exit for name, choice in choices.items() if choice.exit}
    engine = objective.engine
    prefill = [name for name, choice in choices.items() if choice.prefill]
    return staged_plan(engine.name, engine.decoder.num_sublayers, orders, counts, rules, prefill)


def exiting(stages: Sequence[str], settings: SearchSettings) -> Sequence[str]:
    """Stages that may exit early: all but the last unless the settings name some."""
    return stages[:-1] if settings.exit_stages is None else settings.exit_stages


def _exits(stages: Sequence[str], settings: SearchSettings) -> dict[str, ExitRule]:
    """The fixed exit rules."""
    if settings.exit_threshold is None:
        return {}
    return {n: ExitRule(settings.exit_window, settings.exit_threshold) for n in exiting(stages, settings)}


def _candidates(objective: Objective, full: Trial, stage: str, settings: SearchSettings) -> Sequence[ExitRule | None]:
    """The exit rules a stage is tried with; always none as well."""
    if not settings.searches_exit or stage not in exiting(objective.engine.stage_names, settings):
        return [None]
    thresholds = set(settings.exit_candidates)
    if settings.exit_quantile is not None:
        thresholds.add(objective.window_quantile(full, stage, settings.exit_window, settings.exit_quantile))
    return [None, *(ExitRule(settings.exit_window, threshold) for threshold in sorted(thresholds))]

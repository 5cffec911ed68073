"""Races against a naive search that runs every plan over everything; and how often chance drops a good plan."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from litestage.config import SearchSettings
from litestage.engine import Engine
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Attempt, Question
from litestage.search import objective as module
from litestage.search.cost import CostModel
from litestage.search.objective import Objective
from litestage.search.race import Runner
from litestage.search.stagewise import Found, search
from litestage.search.trial import Spent, Trial

MakeUp = Callable[..., tuple[Engine, list[Question]]]


@dataclass
class Naive:
    """Tries every plan on every question, from nothing, and takes the work as the pipeline counted it."""

    engine: Engine
    questions: Sequence[Question]
    cost: CostModel
    spent: Spent = field(default_factory=Spent)

    def trial(self, plan: Plan) -> Trial:
        usage = (result := run(self.engine, self.questions, plan)).usage
        self.spent.prefill += sum(u.trace.prefill_tokens for u in usage.values())
        self.spent.generated += sum(u.tokens for u in usage.values())
        n = len(self.questions)
        right = {q.id: a.answer == q.answer for q, a in zip(self.questions, result.attempts, strict=True)}
        seconds = {}
        for name, used in usage.items():
            part = plan.stages[name]
            seconds[name] = self.cost.prefill_seconds(used.trace, part.skip if part.prefill else ())
            seconds[name] += self.cost.decode_seconds(used.trace.steps, part.skip, part.exit is not None)
        return Trial(plan, n, right, {name: s / n for name, s in seconds.items()})

    def race(self, plans: Sequence[Plan], needed: int, limit: float, best: Trial | None = None) -> list[Trial]:
        return [self.trial(plan) for plan in plans]

    def rank_questions(self, base: Trial) -> None:
        pass


def found_by(objective: Objective | Naive, seed: int) -> Found:
    """A search with settings and an order that the seed draws."""
    draw = random.Random(seed)
    exits = {"exit_candidates": [0.1, 0.3], "exit_window": draw.choice([1, 2])} if seed % 2 else {}
    settings = SearchSettings(
        eps=draw.choice([0.1, 0.2, 0.3]),
        step=draw.choice([2, 3] if exits else [1, 2]),
        coarse=draw.choice([1, 2]),
        prefill=seed == 6,
        exit_threshold=None,
        **exits,  # type: ignore[arg-type]
    )
    orders = {name: draw.sample(range(6), 6) for name in objective.engine.stage_names}
    return search(objective, orders, settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [1, 2, 3, 6, 7, 9])
def test_an_exact_race_ends_where_the_naive_search_does(
    made_up: MakeUp, cost: CostModel, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The same plan and numbers, for less; and who left the race could not have won."""
    monkeypatch.setattr(module, "FIRST", 1 + seed % 3)
    if seed % 3:  # skipping saves little, so plans that ramble lose
        cost = replace(cost, steps=[(20.0, 0.5, 0.25), (800.0, 20.0, 10.0)])
    engine, questions = made_up(seed, count=9)
    naive, racing = Naive(engine, questions, cost), Objective(engine, questions, cost)
    slow, fast = found_by(naive, seed), found_by(racing, seed)
    assert fast.plan == slow.plan
    assert (fast.target, fast.exit_kept) == (slow.target, slow.exit_kept)
    assert fast.final.right == slow.final.right
    assert fast.final.latency == pytest.approx(slow.final.latency, rel=1e-9)
    for mine, true in zip(fast.tried, slow.tried, strict=True):
        assert (mine.stage, mine.choice, mine.chosen) == (true.stage, true.choice, true.chosen)
        assert mine.feasible <= true.feasible
        assert mine.trial.right.items() <= true.trial.right.items()
        assert mine.trial.accuracy >= true.trial.accuracy
        if not mine.trial.stopped:
            assert mine.trial.latency == pytest.approx(true.trial.latency, rel=1e-9)
        if mine.trial.stopped == "accuracy":
            assert not true.feasible
        if mine.trial.stopped == "latency":
            winner = next(t for t in slow.tried if t.chosen and t.stage == mine.stage)
            assert true.trial.seconds > winner.trial.seconds
    assert racing.spent.prefill + racing.spent.generated < naive.spent.prefill + naive.spent.generated
    assert racing.spent.generated < naive.spent.generated


def random_plans(engine: Engine, count: int) -> list[Plan]:
    draw = random.Random(0)
    skips = [tuple(draw.sample(range(6), draw.randint(1, 4))) for _ in range(count)]
    return [Plan(engine.name, 6, dict.fromkeys(engine.stage_names, StagePlan(skip))) for skip in skips]


def test_a_plan_leaves_for_accuracy_only_when_it_falls_short(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0, batch=3)
    plans = random_plans(engine, 3)
    rights = [sum(Naive(engine, questions, cost).trial(plan).right.values()) for plan in plans]
    objective = Objective(engine, questions, cost)
    objective.rank_questions(objective.trial(engine.full_depth()))
    for needed in range(1, len(questions) + 1):
        trials = objective.race(plans, needed, float("inf"))
        for trial, right in zip(trials, rights, strict=True):
            assert trial.reaches(needed) == (right >= needed)
            assert trial.stopped == ("accuracy" if len(trial.right) < trial.n else "")
    assert min(len(trial.right) for trial in trials) < len(questions)
    assert len(set(rights)) > 1


def test_a_plan_leaves_for_latency_only_when_it_is_slower(
    made_up: MakeUp, cost: CostModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST", 2)
    engine, questions = made_up(1)
    objective = Objective(engine, questions, cost)
    objective.rank_questions(objective.trial(engine.full_depth()))
    early = 0
    for plan in random_plans(engine, 4):
        seconds = Naive(engine, questions, cost).trial(plan).seconds
        assert objective.race([plan], 1, seconds * (1 + 1e-9))[0].stopped == ""
        for share in (0.2, 0.5, 0.8, 0.95):
            [trial] = objective.race([plan], 1, share * seconds)
            assert trial.stopped in ("latency", "")
            early += trial.stopped == "latency"
    assert early > 4


def test_without_racing_every_plan_answers_everything(made_up: MakeUp, cost: CostModel) -> None:
    engine, questions = made_up(0)
    objective = Objective(engine, questions, cost, racing="off")
    objective.rank_questions(objective.trial(engine.full_depth()))
    trials = objective.race(random_plans(engine, 3), len(questions), 0.0)
    assert [trial.stopped for trial in trials] == [""] * 3
    assert all(list(trial.right) == [q.id for q in questions] for trial in trials)


class Table(Objective):
    """Plans that say themselves which questions they answer wrong; no model."""

    def _answers(self, plan: Plan, chunk: Sequence[Question]) -> list[Attempt]:
        return [Attempt(q.id, 0, (), None if q.id in plan.provenance["wrong"] else "A") for q in chunk]

    def _each(self, runner: Runner, chunk: Sequence[Question]) -> list[float]:
        return [runner.plan.provenance["seconds"](q.id) for q in chunk]


def wrong_on(ids: Collection[str], seconds: Callable[[str], float] = lambda _: 1.0) -> Plan:
    return Plan("m", 6, {}, {"wrong": set(ids), "seconds": seconds})


def table(count: int, base_wrong: int, **settings: Any) -> Table:
    """Questions q0, q1, ...; the base of the race answers the first `base_wrong` wrong."""
    reasoning = SimpleNamespace(memory=0.0)
    engine: Any = SimpleNamespace(questions_at_once=lambda _: 16, stage_names=[], reasoning=reasoning)
    questions = [Question(f"q{i}", "", {"A": "a"}, "A") for i in range(count)]
    made = Table(engine, questions, CostModel(6, [1], [(1.0, 0.0, 0.0)], (0.0, 0.0, 0.0, 0.0), {}), **settings)
    made.rank_questions(made.trial(wrong_on([q.id for q in questions[:base_wrong]])))
    return made


def dropped(seed: int, wrong: int, needed: int, error: float, draw: random.Random) -> Trial:
    """A race of one plan that answers so many of 120 questions wrong."""
    objective = table(120, 20, racing="statistical", error=error, seed=seed)
    ids = [q.id for q in objective.questions]
    return objective.race([wrong_on(draw.sample(ids, wrong))], needed, float("inf"))[0]


@pytest.mark.parametrize("error", [0.05, 0.3])
def test_chance_drops_a_plan_that_reaches_the_accuracy_at_most_so_often(error: float) -> None:
    """The hardest case: a plan that has exactly what is needed."""
    draw, runs = random.Random(0), 400
    trials = [dropped(seed, 25, 95, error, draw) for seed in range(runs)]
    gone = [trial for trial in trials if trial.stopped]
    assert {trial.stopped for trial in gone} == {"chance"}
    assert 0 < len(gone) < error * runs
    assert all(trial.reaches(95) for trial in trials if not trial.stopped)


def test_chance_drops_a_bad_plan_long_before_accuracy_does() -> None:
    draw = random.Random(1)
    trials = [dropped(seed, 70, 95, 0.05, draw) for seed in range(50)]
    assert {trial.stopped for trial in trials} <= {"accuracy", "chance"}
    assert sum(trial.stopped == "chance" for trial in trials) > 45
    assert sum(len(trial.right) for trial in trials) / 50 < 25  # the 26th wrong one comes at the 45th question or so


def test_what_a_plan_can_still_gain_is_not_held_against_it() -> None:
    [trial] = table(40, 20, racing="statistical").race([wrong_on([])], 40, float("inf"))
    assert (trial.stopped, trial.accuracy) == ("", 1.0)


def test_an_exact_race_never_leaves_anything_to_chance() -> None:
    objective = table(120, 20)
    ids = [q.id for q in objective.questions]
    for losses in range(0, 31):
        [trial] = objective.race([wrong_on(ids[20 : 20 + losses])], 95, float("inf"))
        assert trial.reaches(95) == (losses <= 25)
        assert trial.stopped == ("accuracy" if len(trial.right) < 120 else "")


def test_when_nothing_is_needed_nobody_leaves() -> None:
    for racing in ("exact", "statistical"):
        [trial] = table(40, 0, racing=racing).race([wrong_on([f"q{i}" for i in range(40)])], 0, 0.0)
        assert (trial.stopped, trial.accuracy) == ("", 0.0)


def noisy(mean: float, seed: int) -> Callable[[str], float]:
    """Seconds of a question, drawn around a mean: the same for the same question."""
    return lambda name: random.Random(f"{seed} {name}").gauss(mean, 0.2)


def test_a_slower_plan_waits_and_leaves_when_the_fastest_has_what_is_needed() -> None:
    objective = table(120, 20, racing="statistical")
    wrong = [f"q{i}" for i in range(20)]
    fast, slow = wrong_on(wrong, noisy(1.0, 1)), wrong_on(wrong, noisy(1.3, 2))
    first, second = objective.race([slow, fast], 100, float("inf"))
    assert (first.stopped, second.stopped) == ("slower", "")
    assert 16 <= len(first.right) < 60
    assert len(second.right) == 120


def test_a_plan_that_waits_goes_on_when_the_fastest_misses_the_accuracy() -> None:
    objective = table(120, 20, racing="statistical")
    order = [q.id for q in objective._order]
    fast, slow = wrong_on(order[-5:], noisy(1.0, 1)), wrong_on([], noisy(1.3, 2))
    first, second = objective.race([slow, fast], 118, float("inf"))
    assert second.accuracy == 115 / 120
    assert first.reaches(120)


def test_a_plan_slower_than_the_best_so_far_leaves() -> None:
    objective = table(120, 20, racing="statistical")
    wrong = [f"q{i}" for i in range(20)]
    best = objective.trial(wrong_on(wrong, noisy(1.0, 1)))
    slow, fast = objective.race([wrong_on(wrong, noisy(m, 2)) for m in (1.4, 0.9)], 100, float("inf"), best)
    assert (slow.stopped, fast.stopped) == ("slower", "")


def test_an_exact_race_compares_no_estimates() -> None:
    objective = table(120, 20)
    plans = [wrong_on([], noisy(mean, 2)) for mean in (1.0, 9.0)]
    assert [trial.stopped for trial in objective.race(plans, 100, float("inf"))] == ["", ""]

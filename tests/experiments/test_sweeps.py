"""Sweeps of budgets, exit and thresholds, against the pipeline itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from litestage.experiments import Bench, Result
from litestage.experiments.paper import MEASURED, PUBLISHED, SOURCE
from litestage.experiments.sweeps import exit_saving, thresholds, uniform, with_exit
from litestage.metrics import score
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan

Made = Callable[[str], Result]
Picked = Callable[..., list[dict[str, Any]]]


def work(bench: Bench, plan: Plan) -> tuple[float, float]:
    """Accuracy in percent and decode steps a question, from nothing."""
    attempts = run(bench.engine, bench.test, plan).attempts
    steps = sum(output.tokens - 1 for attempt in attempts for output in attempt.outputs)
    return 100 * score(bench.test, attempts).accuracy, steps / len(bench.test)


def test_uniform_skips_the_most_similar_in_the_stages_asked_for(bench: Bench) -> None:
    plan = uniform(bench, 2, ["recall"])
    assert plan.stages["recall"].skip == tuple(sorted(bench.importance.order[:2]))
    assert plan.budgets == {"recall": 2, "analyze": 0, "summarize": 0}


def test_motivation_sweeps_every_stage_alone_and_all_together(bench: Bench, made: Made, picked: Picked) -> None:
    result = made("motivation")
    ways = ["all stages", "recall alone", "analyze alone", "summarize alone"]
    assert [(row["skipped_in"], row["budget_sublayers"]) for row in result.rows] == [
        (way, budget) for way in ways for budget in (0, 2, 4)
    ]
    votes = run(bench.engine, bench.test, bench.engine.full_depth(), 2, bench.settings.seed).attempts
    expected = score(bench.test, votes)
    for row in picked(result, budget_sublayers=0):
        assert row["accuracy_percent"] == pytest.approx(100 * expected.accuracy)
        assert row["accuracy_stderr"] == pytest.approx(100 * expected.stderr)
        assert (row["speedup"], row["speedup_low"], row["speedup_high"]) == (1, 1, 1)
    for row in result.rows:
        assert row["seconds_low"] <= row["seconds_per_question"] <= row["seconds_high"]
    assert (result.attempts, result.repeats, result.n) == (2, 2, 6)


def test_exit_compares_every_plan_with_and_without_it(bench: Bench, made: Made, picked: Picked) -> None:
    result = made("exit")
    names = [name for where in ("uniform", "plan") for name in (f"{where} without exit", f"{where} with exit")]
    assert [row["plan"] for row in result.rows] == 3 * names[:2] + names[2:]
    rule = ExitRule(5, 0.5)
    plans = {"plan without exit": bench.plan.without_exit(), "plan with exit": with_exit(bench, bench.plan, rule)}
    for name, plan in plans.items():
        (row,) = picked(result, plan=name)
        assert (row["accuracy_percent"], row["decode_steps_per_question"]) == pytest.approx(work(bench, plan))
        assert row["budget_full_layers"] == bench.plan.mean_full_layers
    before, after = (row["decode_steps_per_question"] for row in result.rows[-2:])
    assert result.rows[-1]["saved_steps_percent"] == pytest.approx(100 * (before - after) / before)


def test_the_papers_points_join_on_its_benchmarks(
    opened: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, picked: Picked
) -> None:
    bench = opened()
    bench.settings.data.benchmark = "obqa"
    bench.splits = opened().splits
    result = exit_saving(bench)
    points = [(row["budget_full_layers"], row["saved_steps_percent"]) for row in picked(result, source=SOURCE)]
    assert points == PUBLISHED["obqa"].exit_saves
    assert [panel.where for panel in result.panels] == [{"source": MEASURED}, {"source": MEASURED}, {}]


def test_thresholds_begin_without_exit(opened: Callable[..., Bench], picked: Picked) -> None:
    bench = opened("--search.exit_window=1")  # outputs are short
    result = thresholds(bench)
    assert [row["threshold"] for row in picked(result, plan="litestage")] == ["off", "0.3", "0.5", "0.7"]
    plans: Mapping[str, Plan] = {"full depth": bench.engine.full_depth(), "litestage": bench.plan.without_exit()}
    for name, plan in plans.items():
        off, *rest = picked(result, plan=name)
        assert off["cut_percent"] == 0
        assert (off["accuracy_percent"], off["decode_steps_per_question"]) == pytest.approx(work(bench, plan))
        cuts = [row["cut_percent"] for row in rest]
        assert cuts[-1] > 0
        exits = with_exit(bench, plan, ExitRule(1, 0.7))
        assert (rest[-1]["accuracy_percent"], rest[-1]["decode_steps_per_question"]) == pytest.approx(
            work(bench, exits)
        )

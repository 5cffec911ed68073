"""Budgets at several eps from one journal; tokens against the naive search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litestage.experiments import Bench, Result
from litestage.experiments.paper import SOURCE
from litestage.experiments.searched import EPS, _published, affordable
from litestage.pipeline import run
from litestage.report.schema import read
from litestage.search.policies import staged_plan

Made = Callable[[str], Result]
Picked = Callable[..., list[dict[str, Any]]]


def test_the_own_eps_has_the_plans_budgets_and_needs_nothing_new(bench: Bench, made: Made, picked: Picked) -> None:
    rows = picked(made("budgets"), eps_percent=100 * bench.settings.search.eps)
    assert {row["stage"]: row["budget_sublayers"] for row in rows} == bench.plan.budgets
    assert all(row["budget_full_layers"] == row["budget_sublayers"] / 2 for row in rows)
    profile = read(bench.given.folder / "search.json", "search")
    seconds = [sum(profile[name]["latency"].values()) for name in ("full_depth", "final")]
    assert rows[0]["predicted_speedup"] == pytest.approx(seconds[0] / seconds[1])
    assert {row["generated_anew"] for row in rows} == {0}


def test_every_eps_is_kept(bench: Bench, made: Made) -> None:
    result = made("budgets")
    assert list(dict.fromkeys(row["eps_percent"] for row in result.rows)) == [100 * eps for eps in EPS]
    assert all(row["accuracy_change"] >= -row["eps_percent"] - 1e-9 for row in result.rows)


def test_an_eps_that_full_depth_cannot_afford_is_left_out(bench: Bench) -> None:
    accuracy = bench.objective.trial(bench.engine.full_depth()).accuracy
    assert affordable(bench, [0.0, accuracy, accuracy + 0.01]) == [0.0, bench.settings.search.eps, accuracy]


def test_the_papers_budgets_are_in_full_layers(opened: Callable[..., Bench]) -> None:
    bench = opened()
    bench.settings.data.benchmark = "strategyqa"
    rows = _published(bench)
    assert {row["source"] for row in rows} == {SOURCE}
    high = {row["stage"]: row["budget_full_layers"] for row in rows if row["setting"] == "paper, high"}
    assert high == {"recall": 8, "analyze": 20, "summarize": 3}


def test_the_naive_search_is_what_all_passes_take(bench: Bench, made: Made, picked: Picked) -> None:
    result = made("search-cost")
    naive = picked(result, search="naive: every plan, every question")
    profile = read(bench.given.folder / "search.json", "search")
    passes = 1 + sum(trial["budget"] > 0 for trial in profile["trials"]) + profile["exit_kept"]
    assert [row["passes"] for row in naive] == [passes, passes]
    full = run(bench.engine, bench.validation, bench.engine.full_depth()).usage.values()
    assert naive[1]["tokens"] == passes * sum(used.trace.prefill_tokens for used in full)
    # The plans that the search finished, really run.
    total = sum(used.tokens for used in full)
    for trial in profile["trials"]:
        if trial["budget"] and not trial["stopped"]:
            engine = bench.engine
            plan = staged_plan(engine.name, 4, bench.orders, trial["budgets"])
            total += sum(used.tokens for used in run(engine, bench.validation, plan).usage.values())
        elif trial["budget"]:
            total += sum(used.tokens for used in full)
    assert naive[0]["tokens"] == total or profile["exit_kept"]
    (mine, _) = picked(result, search="this search (search.json)")
    assert mine["tokens"] == profile["spent"]["generated"]
    assert mine["share_percent"] == pytest.approx(100 * mine["tokens"] / naive[0]["tokens"])

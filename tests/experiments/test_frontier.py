"""The frontier: every method's points, until its speed-up saturates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from litestage.config.judging import PEERS
from litestage.experiments import Bench, Result
from litestage.experiments.frontier import _published, frontier, saturated
from litestage.experiments.paper import MEASURED, PUBLISHED, SOURCE
from litestage.experiments.searched import EPS

Picked = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("speedups", "expected"),
    [
        ([], False),
        ([1.1, 1.0], False),
        ([1.1, 1.0, 1.05], True),
        ([1.0, 1.1, 1.2], False),
        ([1.0, 1.2, 1.1, 1.3], False),
        ([1.0, 1.3, 1.2, 1.3], True),
    ],
)
def test_two_budgets_without_a_new_best_end_a_sweep(speedups: Sequence[float], expected: bool) -> None:
    assert saturated(speedups) == expected


def test_all_methods_are_there(bench: Bench, made: Callable[[str], Result], picked: Picked) -> None:
    result = made("frontier")
    assert list(dict.fromkeys(row["method"] for row in result.rows)) == ["full depth", "litestage", *PEERS]
    (full,) = picked(result, method="full depth")
    (same,) = [r for r in made("motivation").rows if r["skipped_in"] == "all stages" and not r["budget_sublayers"]]
    assert full["accuracy_percent"] == same["accuracy_percent"]
    assert (full["speedup"], full["budget_full_layers"]) == (1, 0)
    own = picked(result, method="litestage")
    assert [row["eps_percent"] for row in own] == [100 * eps for eps in EPS]
    for row in own:
        assert row["budget_full_layers"] == bench.found(row["eps_percent"] / 100).plan.mean_full_layers
    assert [row["budget_full_layers"] for row in picked(result, method="adaskip")] == [1, 2]
    assert {row["source"] for row in result.rows} == {MEASURED}
    assert "full depth timed against itself gives" in " ".join(result.notes)


def test_methods_that_an_old_importance_file_cannot_serve_are_left_out_with_a_note(
    old_importance: Path, opened: Callable[..., Bench], picked: Picked
) -> None:
    result = frontier(opened("--search.max_budget=2", "--evaluate.attempts=1", "--evaluate.repeats=1"))
    assert not picked(result, method="shortgpt")
    assert picked(result, method="adaskip")
    assert "Without shortgpt: the importance has no block similarities" in " ".join(result.notes)


def test_the_papers_points_are_marked_as_such(opened: Callable[..., Bench]) -> None:
    bench = opened()
    assert _published(bench) == []
    bench.settings.data.benchmark = "csqa"
    rows = _published(bench)
    assert {row["source"] for row in rows} == {SOURCE}
    assert [
        (r["budget_full_layers"], r["accuracy_percent"], r["speedup"]) for r in rows if r["method"] == "adaskip"
    ] == (PUBLISHED["csqa"].frontier["adaskip"])
    assert rows[0].keys() == rows[-1].keys()

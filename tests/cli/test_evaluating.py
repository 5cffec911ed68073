"""`evaluate.py`: every method on the same questions, and the plans it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from litestage import cli
from litestage.lit.evaluation import BASELINE, CONTROL
from litestage.plan import Plan
from litestage.report.schema import read


def test_the_results_compare_all_methods(done: SimpleNamespace) -> None:
    results = read(done.folder / "results.json", "results")
    names = [BASELINE, CONTROL, "litestage", "litestage without exit", "adaskip"]
    assert [method["name"] for method in results["methods"]] == names
    plan = Plan.from_pretrained(done.folder / "plan")
    budgets = {method["name"]: method["budgets"] for method in results["methods"]}
    assert budgets["litestage"] == budgets["litestage without exit"] == plan.budgets
    assert set(budgets["adaskip"].values()) == {round(2 * plan.mean_full_layers)}
    assert {method["n"] for method in results["methods"]} == {6}
    assert (results["timing"]["questions"], results["timing"]["processes"]) == (4, 1)
    assert set(names) <= set(done.summary["evaluate"])


def test_evaluate_before_search_says_what_to_run(fails: Callable[..., str], copied: Path) -> None:
    shutil.rmtree(copied / "plan")
    assert "search.py" in fails(cli.evaluate)


def test_a_plan_for_another_model_is_refused_with_both_names_and_counts(
    fails: Callable[..., str], copied: Path
) -> None:
    path = copied / "plan" / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "model": "other (run)", "num_sublayers": 44}))
    message = fails(cli.evaluate)
    assert "other (run) (44 sub-layers)" in message
    assert "tiny (mini) (4 sub-layers)" in message


def test_a_plan_for_earlier_weights_is_refused(fails: Callable[..., str], copied: Path) -> None:
    path = copied / "plan" / "plan.json"
    plan = json.loads(path.read_text())
    plan["provenance"]["weights"] = "0123456789ab"
    path.write_text(json.dumps(plan))
    assert "trained again since this search; run search.py again" in fails(cli.evaluate)

"""`evaluate.py`: every method on the same questions, and the plans it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from litestage import cli
from litestage.cli import evaluating
from litestage.config.judging import PEERS
from litestage.lit import evaluation
from litestage.lit.evaluation import BASELINE, CONTROL
from litestage.plan import Plan, StagePlan
from litestage.report.answers import read_answers
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


def test_the_greedy_answers_are_kept_and_the_page_is_written(done: SimpleNamespace) -> None:
    answered = read_answers(done.folder / "answers.jsonl")
    assert len(answered) == 6
    for one in answered:
        assert list(one.answers) == [BASELINE, "litestage", "litestage without exit"]
        for answer in one.answers.values():
            places = [(output.stage, output.option) for output in answer.outputs]
            assert places == [
                ("recall", ""),
                *(("analyze", label) for label in one.question.options),
                ("summarize", ""),
            ]
    results = {method["name"]: method for method in read(done.folder / "results.json", "results")["methods"]}
    for name, method in results.items():
        right = [one.answers[name].answer == one.question.answer for one in answered if name in one.answers]
        assert not right or sum(right) / 6 == method["single_pass_accuracy"]
    page = done.folder / "report.html"
    assert f"the whole run on one page: {page}" in done.stderr["evaluate"]
    assert answered[0].question.id in page.read_text()


def test_the_methods_named_are_compared_at_the_budget_nearest_to_the_plans(
    copied: Path, again: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three sub-layers, in two blocks: whole-block methods read them as one block."""
    monkeypatch.setattr(evaluating, "draw_all", lambda *_: [])  # slow, and tested elsewhere
    logged: list[tuple[str, Path]] = []
    monkeypatch.setattr(evaluating.tracking, "log_page", lambda _, name, path: logged.append((name, path)))
    plan = Plan.from_pretrained(copied / "plan")
    stages = {name: StagePlan(skip) for name, skip in zip(plan.stages, ((0, 1, 2, 3), (1, 2, 3), (1, 2)), strict=True)}
    replace(plan, stages=stages).save_pretrained(copied / "plan")
    summary = again(cli.evaluate, "--evaluate.methods", json.dumps(["litestage", *PEERS]), "--evaluate.repeats", "1")
    methods = {method["name"]: method for method in read(copied / "results.json", "results")["methods"]}
    assert list(methods) == [BASELINE, CONTROL, "litestage", *PEERS]
    assert set(methods) <= set(summary)
    assert logged == [("report", copied / "report.html")]
    skipped = {name: methods[name]["skipped_sublayers"]["analyze"] for name in PEERS}
    blocks = dict.fromkeys(("unifiedskip", "skipdecode", "shortgpt", "every-mth"), 2)
    assert skipped == {**dict.fromkeys(("adaskip", "adaskip scaled", "random"), 3), **blocks}
    half = trained_parameters(copied) // 2
    assert methods["shortgpt"]["skipped_parameters"] == dict.fromkeys(stages, half)
    assert methods["litestage"]["skipped_parameters"]["recall"] == 2 * half


def trained_parameters(folder: Path) -> int:
    """Of all blocks of the trained model."""
    weights = load_file(folder / "model" / "model.safetensors")
    return sum(weight.numel() for name, weight in weights.items() if ".layers." in name)


def test_a_stopped_evaluation_goes_on_and_says_so_in_the_results(
    copied: Path, again: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after its last batch, before results are written; then it has nothing left to ask."""
    monkeypatch.setattr(evaluating, "draw_all", lambda *_: [])
    before = read(copied / "results.json", "results")
    assert list(copied.glob("evaluate-*")) == []
    assert before["timing"]["note"] == evaluating.NOTE

    def crash(*_: Any) -> None:
        raise RuntimeError("no power")

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "validate", crash)
        with pytest.raises(RuntimeError, match="no power"):
            again(cli.evaluate)
    assert len(list(copied.glob("evaluate-*"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "run", crash)
        with pytest.warns(UserWarning, match="an evaluation like this one was stopped"):
            again(cli.evaluate)
    after = read(copied / "results.json", "results")
    assert after["timing"]["note"].endswith("each batch was timed in one process")
    accuracies = [[m["accuracy"] for m in results["methods"]] for results in (before, after)]
    assert accuracies[0] == accuracies[1]
    assert list(copied.glob("evaluate-*")) == []


def test_an_old_importance_file_serves_all_methods_but_those_that_need_more(
    old_importance: Path, fails: Callable[..., str]
) -> None:
    for name in ("shortgpt", "adaskip scaled"):
        message = fails(cli.evaluate, "--evaluate.methods", json.dumps(["adaskip", name]))
        assert "run `python train.py` again" in message
        assert repr(name) in message


def test_an_unknown_method_names_the_known_ones(fails: Callable[..., str], copied: Path) -> None:
    message = fails(cli.evaluate, "--evaluate.methods", '["layerdrop"]')
    assert "['layerdrop']" in message
    assert ", ".join(PEERS) in message


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

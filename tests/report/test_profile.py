"""The search document holds what was found, with nothing made up for trials that were given up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from litestage.plan import ExitRule, Plan, StagePlan
from litestage.report.profile import profile
from litestage.report.schema import validate
from litestage.search.stagewise import Choice, Found, Tried
from litestage.search.trial import Spent, Trial

FULL = Plan.full_depth("m", 8, ["recall", "summarize"])
SKIPS = Plan("m", 8, {"recall": StagePlan((1, 2), ExitRule(5, 0.4), prefill=True), "summarize": StagePlan()})
SURE = {"speedup": {"value": 1.5, "low": 1.2, "high": 1.8}, "n": 4}


def trial(plan: Plan, right: str, seconds: float) -> Trial:
    """`right` holds a letter a question: y, or n."""
    answers = {f"q{i}": letter == "y" for i, letter in enumerate(right)}
    latency, tokens = {"recall": seconds, "summarize": 0.25}, {"recall": 6.5, "summarize": 2.0}
    return Trial(plan, len(right), answers, latency, tokens=tokens)


@pytest.fixture
def document() -> dict[str, Any]:
    full, final = trial(FULL, "yyyn", 1.0), trial(SKIPS, "yynn", 0.5)
    gone = Trial(SKIPS.without_exit(), 4, {"q3": False, "q0": False}, stopped="accuracy")
    tried = [
        Tried("recall", Choice(0), full, True, False),
        Tried("recall", Choice(2), gone, False, False),
        Tried("recall", Choice(2, ExitRule(5, 0.4), prefill=True), final, True, True),
    ]
    return profile(Found(SKIPS, full, 0.5, tried, final, True), {"rows": [1]}, Spent(900, 40), SURE)


def test_it_is_a_valid_document_of_version_2_also_after_json(document: dict[str, Any]) -> None:
    validate(json.loads(json.dumps(document)), "search")
    assert (document["format"], document["version"]) == ("litestage-search", 2)


def test_a_finished_trial_has_its_choice_and_its_numbers(document: dict[str, Any]) -> None:
    assert document["trials"][2] == {
        "stage": "recall",
        "budget": 2,
        "exit": 0.4,
        "prefill": True,
        "budgets": {"recall": 2, "summarize": 0},
        "accuracy": 0.5,
        "latency": 0.75,
        "tokens": {"recall": 6.5, "summarize": 2.0},
        "answered": 4,
        "stopped": "",
        "feasible": True,
        "chosen": True,
    }
    assert (document["trials"][0]["exit"], document["trials"][0]["prefill"]) == (None, False)


def test_a_trial_that_was_given_up_has_a_bound_and_no_latency(document: dict[str, Any]) -> None:
    gone = document["trials"][1]
    assert (gone["stopped"], gone["answered"], gone["accuracy"]) == ("accuracy", 2, 0.5)  # 2 of 4 may still be right
    assert (gone["latency"], gone["tokens"]) == (None, {})
    assert not gone["feasible"]


def test_full_depth_and_the_final_plan_have_numbers_by_stage(document: dict[str, Any]) -> None:
    tokens = {"recall": 6.5, "summarize": 2.0}
    assert document["full_depth"] == {
        "accuracy": 0.75,
        "latency": {"recall": 1.0, "summarize": 0.25},
        "tokens": tokens,
        "n": 4,
    }
    assert document["final"]["latency"] == {"recall": 0.5, "summarize": 0.25}
    assert (document["final"]["accuracy"], document["target"], document["exit_kept"]) == (0.5, 0.5, True)


def test_it_says_what_the_search_took_and_how_sure_it_is(document: dict[str, Any]) -> None:
    assert document["spent"] == {"prefill": 900, "generated": 40}
    assert document["cost_model"] == {"rows": [1]}
    assert document["confidence"] == SURE

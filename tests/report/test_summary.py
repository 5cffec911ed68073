"""The finding in sentences and rows."""

from __future__ import annotations

from typing import Any

import pytest

from litestage.report.summary import answer, change_rows, method_rows, stage_rows, trial_rows

Document = dict[str, Any]


def _said(results: Document, plan: Document | None) -> str:
    return " ".join(answer(results, plan)).replace("\xa0", " ")


def _rows(rows: list[list[str]]) -> list[list[str]]:
    return [[cell.replace("\xa0", " ") for cell in row] for row in rows]


@pytest.fixture
def sure(plan: Document, profile: Document) -> Document:
    """A plan whose search noted how sure it is."""
    plan["provenance"]["confidence"] = profile["confidence"]
    return plan


def test_the_answer_names_accuracy_speed_control_exit_and_validation(results: Document, sure: Document) -> None:
    said = _said(results, sure)
    for words in (
        "On 500 test questions of miniworld, the plan answers 65.2 ± 2.1 % right and full depth 66.0 ± 2.1 % "
        "(−0.8 points; vote of 10 attempts).",
        "The plan is 1.31 [1.27, 1.36] times as fast as full depth, which is more than the noise of the clock: full "
        "depth timed against itself gives 1.00 [0.97, 1.03].",
        "Without its early exit it is 1.26 [1.22, 1.30] times as fast and answers 65.4 ± 2.1 % right.",
        "On the validation questions accuracy changes by −0.5 points [−2.0, +1.0].",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("speedup", "words"),
    [
        ({"median": 1.05, "low": 1.02, "high": 1.1}, "within the noise of the clock"),
        ({"median": 0.8, "low": 0.7, "high": 0.9}, "slower, beyond the noise of the clock"),
    ],
)
def test_a_speed_up_is_judged_by_the_control(results: Document, speedup: dict[str, float], words: str) -> None:
    results["methods"][2]["speedup"] = speedup
    assert words in _said(results, None)


def test_what_is_missing_is_said(results: Document, plan: Document) -> None:
    results["timing"]["control"] = None
    results["methods"][2]["exit"] = False
    said = _said(results, plan)
    assert "no control was timed" in said
    assert "early exit" not in said
    assert "validation" not in said
    results["methods"] = [m for m in results["methods"] if not m["name"].startswith("litestage")]
    assert "full depth with adaskip; the plan was not among the methods" in _said(results, plan)
    assert change_rows(results, plan) == []


def test_changes_stand_beside_their_intervals_and_the_control(results: Document, sure: Document) -> None:
    rows = {row[0]: row[1:] for row in _rows(change_rows(results, sure))}
    assert rows["accuracy change on validation, points"] == [
        "−0.5",
        "[−2.0, +1.0]",
        "95 % interval, n = 200, the questions searched on",
    ]
    assert rows["accuracy change on test, points"][:2] == ["−0.8", "66.0 ± 2.1 % to 65.2 ± 2.1 %"]
    assert rows["speed-up that the costs predicted"][:2] == ["1.27", "[1.24, 1.31]"]
    assert rows["speed-up, measured"][:2] == ["1.31", "[1.27, 1.36]"]
    assert rows["control: full depth against itself"][:2] == ["1.00", "[0.97, 1.03]"]


@pytest.mark.parametrize("confidence", [None, {}, [], "sure", {"accuracy_change": {"value": "x"}}])
def test_an_interval_that_cannot_be_read_is_not_known(results: Document, plan: Document, confidence: object) -> None:
    plan["provenance"]["confidence"] = confidence
    first, *others = change_rows(results, plan)
    assert first[1:] == ["not known", "", ""]
    assert [row[0] for row in others][1] == "speed-up, measured"


def test_stages_show_both_units_which_when_and_exit(results: Document, plan: Document) -> None:
    plan["stages"]["summarize"] |= {"later": [{"step": 3, "skip": [1, 2]}, {"step": 9, "skip": [1, 2, 3]}]}
    recall, analyze, summarize = stage_rows(results, plan)
    assert recall == [
        "recall", "4", "2", "2, 5, 9, 15", "prefill and decode", "mean of 5 tokens below 0.5", "12.5", "12.5",
    ]  # fmt: skip
    assert analyze[1:6] == ["2", "1", "2, 5", "decode", "none"]
    assert summarize[1:6] == ["3", "1.5", "1, 2, 3 (grows until step 9)", "decode", "none"]


def test_without_a_plan_the_budgets_are_those_of_the_results(results: Document) -> None:
    rows = stage_rows(results, None)
    assert [row[:3] for row in rows] == [["recall", "4", "2"], ["analyze", "6", "3"], ["summarize", "2", "1"]]
    assert {cell for row in rows for cell in row[3:6]} == {"not known"}
    results["methods"] = results["methods"][:2]
    assert stage_rows(results, None) == []


def test_one_row_a_method(results: Document) -> None:
    rows = _rows(method_rows(results))
    assert len(rows) == 5
    assert rows[2] == [
        "litestage", "65.2 ± 2.1", "500", "62.1", "1.2", "1.31 [1.27, 1.36]", "0.32", "81.8", "4 / 6 / 2", "2.00",
    ]  # fmt: skip


def test_what_a_step_really_skips_is_said_where_it_differs(results: Document) -> None:
    results["methods"][2]["skipped_sublayers"] = {"recall": 4.0, "analyze": 3.25, "summarize": 2.0}
    results["methods"][4]["skipped_sublayers"] = {"recall": 4.0, "analyze": 4.0, "summarize": 4.0}
    rows = {row[0]: row[-2] for row in method_rows(results)}
    assert rows["litestage"] == "4 / 6 / 2 (mean step: 4.0 / 3.2 / 2.0)"
    assert rows["adaskip"] == "4 / 4 / 4"


def test_trials_say_what_became_of_them(profile: Document) -> None:
    rows = trial_rows(profile)
    assert len(rows) == 17
    assert rows[0] == ["analyze", "0", "0", "", "66.0", "0.42", "200 of 200", "reaches the target"]
    assert rows[1][-1] == "chosen"
    assert rows[2][4:] == ["63.0", "0.38", "200 of 200", "below the target"]
    assert rows[3][4:] == ["at most 64.0", "", "24 of 200", "given up: it could not reach the target any more"]
    assert rows[4][-1] == "given up: it could not be the fastest any more"
    assert [row[3] for row in rows if row[3]] == ["exit below 0.35", "prefill"]

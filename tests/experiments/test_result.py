"""A result as a document: valid, complete, and refused when its rows and columns disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from litestage.experiments import KNOWN, Bench, Result
from litestage.experiments.result import Panel
from litestage.report.schema import validate

PLAIN = Result(
    "plain", "Plain", "What?", {"stage": "stage", "value": "value (points)"}, [{"stage": "recall", "value": 1.5}],
    [Panel("bars", "stage", "value")], 7,
)  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_every_experiment_is_a_valid_document(name: str, bench: Bench, made: Callable[[str], Result]) -> None:
    document = made(name).document(bench.about())
    validate(document, "experiment")
    assert document["name"] == name
    assert (document["run"], document["seed"], document["batch_size"]) == ("mini", 1, 5)
    assert document["environment"]["dtype"] == "float32"
    whole = {"test": 6, "validation": 16}[document["split"]]
    assert document["n"] == {"importance": 3, "example": 1}.get(name, whole)


def test_the_document_holds_columns_in_order_and_panels_as_plain_values(bench: Bench) -> None:
    document = PLAIN.document(bench.about())
    assert document["columns"] == [{"name": "stage", "title": "stage"}, {"name": "value", "title": "value (points)"}]
    assert document["rows"] == [{"stage": "recall", "value": 1.5}]
    assert (document["n"], document["attempts"], document["repeats"]) == (7, 1, 0)
    assert document["panels"][0] == {
        "kind": "bars", "x": "stage", "y": "value", "by": "", "value": "", "error": [], "x_error": [], "title": "",
        "where": {},
    }  # fmt: skip


@pytest.mark.parametrize("row", [{"stage": "recall"}, {"stage": "recall", "value": 1.0, "more": 2}])
def test_rows_with_other_columns_are_refused(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"plain: row 0: \['(value|more)'\]"):
        replace(PLAIN, rows=[row]).document({})

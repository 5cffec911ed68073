from __future__ import annotations

from typing import Any

import pytest

from litestage.records import Rationale
from litestage.text.rationales.form import faults, made, row

ROW = {"id": "t1", "recall": "Wood floats.", "analyze": {"A": "a nail sinks.", "B": "a log floats."}}
KNOWN = {"t1": "AB", "t2": "ABC"}
EITHER = "expected a text, or an object: option label -> text"


def test_a_sound_row_has_no_faults() -> None:
    assert list(faults(ROW, "f:1", KNOWN, ["recall", "analyze"])) == []
    assert list(faults({"id": "any", "think": "so."}, "f:1")) == []


def test_texts_are_stripped() -> None:
    found = made({"id": " t1 ", "recall": " Wood floats. ", "analyze": {"A": " x. "}}, "f:1")
    assert found == Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": {"A": "x."}})
    assert found.where == "f:1"


def test_row_is_the_inverse_of_made() -> None:
    assert row(made(ROW, "f:1")) == ROW
    assert row(made({"id": "t1", "think": "so."}, "f:1")) == {"id": "t1", "think": "so."}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "field 'id': value None; expected a text that is not empty"),
        ({"id": 3}, "field 'id': value 3; expected a text that is not empty"),
        ({"id": "t3"}, "field 'id': value 't3'; expected the id of one of the 2 questions"),
        ({"recall": None}, f"field 'recall': value None; {EITHER}"),
        ({"recall": ["x"]}, f"field 'recall': value ['x']; {EITHER}"),
        ({"recall": " "}, "field 'recall': value ' '; expected a text that is not empty"),
        ({"analyze": {}}, f"field 'analyze': value {{}}; {EITHER}"),
        ({"analyze": {"A": "x.", "B": 3}}, "field 'analyze.B': value 3; expected a text that is not empty"),
        (
            {"analyze": {"A": "x.", "B": "y.", "C": "z."}},
            "field 'analyze.C': value 'C'; expected one of the question's labels ['A', 'B']",
        ),
        (
            {"analyze": {"A": "x."}},
            "field 'analyze.B': value None; expected a text for each of the question's labels ['A', 'B']",
        ),
        (
            {"analyze": {"A": "x.", "B": "y.", "b": "z."}},
            "field 'analyze.b': value 'b'; expected an option label here, one capital letter",
        ),
        (
            {"my stage": "x."},
            "field 'my stage': value 'x.'; expected a stage's name here, a plain word such as 'recall'",
        ),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], message: str) -> None:
    assert [str(fault) for fault in faults({**ROW, **change}, "f:1", KNOWN)] == [f"f:1: {message}"]


def test_all_faults_of_a_row_are_found() -> None:
    row = {"id": "t9", "recall": "", "analyze": {"A": "", "1": "x."}}
    fields = [str(fault).split("'")[1] for fault in faults(row, "f:1", KNOWN, ["recall", "sum"])]
    assert fields == ["id", "sum", "recall", "analyze.A", "analyze.1"]


def test_a_row_needs_a_stage() -> None:
    (fault,) = faults({"id": "t1"}, "f:1")
    assert str(fault) == f"f:1: field 'recall': value None; {EITHER}"


def test_other_stages_than_the_needed_ones_are_welcome() -> None:
    assert list(faults({**ROW, "think": "so."}, "f:1", KNOWN, ["recall"])) == []

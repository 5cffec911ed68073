from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Question
from litestage.text.benchmarks.choices import question, questions
from litestage.text.benchmarks.sources import Origin

ORIGIN = Origin(hub="a/b", config=None, splits=("train",), files={"train": "train.jsonl"}, page="x")
EXPECTED = Question(
    "t1", "Which one is t1?", dict(zip("ABCD", ["a nail", "a log", "a cup", "a key"], strict=True)), "B"
)
Row = Callable[..., dict[str, Any]]


def test_both_forms_read_alike(local_row: Row, hub_row: Row) -> None:
    rows = [local_row("t1"), hub_row("t1"), hub_row("t1", stem="question")]
    assert [question(row, "f:1") for row in rows] == [EXPECTED] * 3
    assert list(question(local_row("t1"), "f:1").options) == list("ABCD")


def test_options_may_repeat_a_text(local_row: Row) -> None:
    row = local_row("t1")
    row["question"]["choices"][3]["text"] = "a nail"
    assert question(row, "f:1").options == {**EXPECTED.options, "D": "a nail"}


def test_questions_are_read_from_a_folder(tmp_path: Path, local_row: Row, write: Callable[..., Path]) -> None:
    path = write(tmp_path / "train.jsonl", [local_row("t1"), local_row("t1")])
    with pytest.raises(ValueError, match=r"train\.jsonl:2: field 'id': value 't1'; .*train\.jsonl:1 has it too"):
        questions(str(tmp_path), ORIGIN)
    write(path, [local_row("t1")])
    assert questions(str(tmp_path), ORIGIN) == {"train": [EXPECTED]}


def choices(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"question": {"stem": "Which?", "choices": [{"text": text, "label": label} for text, label in pairs]}}


LABEL = "value {}; expected one capital letter that no other choice has"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "field 'id': value None; expected a text that is not empty"),
        ({"answerKey": "E"}, r"field 'answerKey': value 'E'; expected one of the labels \['A', 'B', 'C', 'D'\]"),
        ({"answerKey": ["B"]}, r"field 'answerKey': value \['B'\]; expected one of the labels"),
        ({"answerKey": ""}, "field 'answerKey': value ''; expected one of the labels"),
        ({"question": "Which?"}, "field 'question': value 'Which\\?'; expected an object with stem and choices"),
        ({"question": {"stem": "Which?"}}, r"field 'question\.choices': value None; expected a list of objects"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, "field 'choices': .*expected as many texts as labels"),
        ({"choices": ["a"]}, r"field 'choices': value \['a'\]; expected as many texts as labels"),
        (choices(("a", "A"), ("", "B")), r"field 'choices\[1\]\.text': value ''; expected a text"),
        (choices(("a", "A"), ("b", "A")), r"field 'choices\[1\]\.label': " + LABEL.format("'A'")),
        (choices(("a", "A"), ("b", "2")), r"field 'choices\[1\]\.label': " + LABEL.format("'2'")),
        (choices(("b", "B")), "field 'choices': .*expected at least two choices"),
    ],
)
def test_a_bad_row_is_explained(local_row: Row, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^f:1: {message}"):
        question({**local_row("t2"), **change}, "f:1")


def test_an_empty_question_is_refused(local_row: Row, hub_row: Row) -> None:
    local = local_row("t1")
    local["question"]["stem"] = " "
    for row in (local, {**hub_row("t1"), "question_stem": " "}):
        with pytest.raises(ValueError, match=r"^f:1: field 'stem': value ' '; expected a text that is not empty"):
            question(row, "f:1")

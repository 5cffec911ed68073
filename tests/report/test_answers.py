"""Answers come back as they were written; damaged lines are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Attempt, Question, StageOutput
from litestage.report.answers import read_answers, write_answers

QUESTION = Question("q1", 'Which floats? </script> "é"', {"B": "a log", "A": "a nail"}, "B")


def _attempt(answer: str | None, text: str = " Wood. ") -> Attempt:
    outputs = (StageOutput("recall", "", "p", text, 3, "eos"), StageOutput("analyze", "B", "p", "yes", 1, "cap"))
    return Attempt("q1", 0, outputs, answer)


def test_answers_come_back_as_written(tmp_path: Path) -> None:
    path = write_answers(tmp_path, [QUESTION], {"litestage": [_attempt(None)], "full depth": [_attempt("B")]})
    assert path == tmp_path / "answers.jsonl"
    (found,) = read_answers(path)
    assert found.question == QUESTION
    assert list(found.question.options) == ["B", "A"]
    assert list(found.answers) == ["full depth", "litestage"]
    assert [answer.answer for answer in found.answers.values()] == ["B", None]
    recall, analyze = found.answers["litestage"].outputs
    assert (recall.stage, recall.option, recall.text, recall.tokens, recall.stop) == ("recall", "", " Wood. ", 3, "eos")
    assert (analyze.option, analyze.stop) == ("B", "cap")


def test_only_the_plan_and_full_depth_are_kept(tmp_path: Path, write_questions: Callable[..., Path]) -> None:
    lines = write_questions(tmp_path, 3).read_text().splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["full depth", "litestage"] * 3
    assert [json.loads(line)["id"] for line in lines] == ["q0", "q0", "q1", "q1", "q2", "q2"]


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    other = Question("q2", "?", {}, None)
    with pytest.raises(ValueError, match="answer 0 is to question q1, not q2"):
        write_answers(tmp_path, [other], {"full depth": [_attempt("B")]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": 7}, "field 'id': value 7; expected a text"),
        ({"options": {"A": 1}}, "field 'options'"),
        ({"gold": 1}, "expected a text or null"),
        ({"method": None}, "field 'method'"),
        ({"outputs": {}}, "expected a list"),
        ({"outputs": ["text"]}, "a list of objects"),
        ({"outputs": [{"stage": "recall", "option": "", "text": "t", "stop": "eos"}]}, "field 'tokens'"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write_answers(tmp_path, [QUESTION], {"full depth": [_attempt("B")]})
    line = json.loads(path.read_text())
    path.write_text(path.read_text().replace('"q1"', '"q0"') + json.dumps({**line, **change}))
    with pytest.raises(ValueError, match=r"answers\.jsonl:2: ") as error:
        read_answers(path)
    assert words in str(error.value)


def test_a_method_twice_is_named(tmp_path: Path) -> None:
    path = write_answers(tmp_path, [QUESTION], {"full depth": [_attempt("B")]})
    path.write_text(path.read_text() * 2)
    with pytest.raises(ValueError, match=r"answers\.jsonl:2: field 'method'.*each method once"):
        read_answers(path)

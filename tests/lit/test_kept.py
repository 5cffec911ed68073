"""What a stopped evaluation leaves, and what another one makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from litestage.lit.kept import Kept, pack, unpack
from litestage.records import Attempt, Question, StageOutput
from litestage.text import appended

QUESTIONS = [Question(f"q{i}", "What floats?", {"A": "a nail", "B": "a log"}, "B") for i in range(4)]


def test_batches_are_found_by_the_questions_that_were_asked_together(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {"seed": 0})
    assert kept.open() == 0
    kept.add(QUESTIONS[:2], {"timed": 1})
    kept.add(QUESTIONS[2:], {"timed": 0})
    again = Kept(tmp_path, {"seed": 0})
    assert again.open() == 2
    assert again.get(QUESTIONS[:2]) == {"timed": 1}
    assert again.get(QUESTIONS[2:]) == {"timed": 0}
    assert again.get(QUESTIONS[1:3]) is None
    assert again.get(QUESTIONS[:3]) is None
    for edited in ({"text": "What sinks?"}, {"options": {"B": "a log", "A": "a nail"}}, {"answer": "A"}):
        assert again.get([QUESTIONS[0], replace(QUESTIONS[1], **edited)]) is None


def test_an_evaluation_about_something_else_has_its_own_file(tmp_path: Path) -> None:
    one, other = Kept(tmp_path, {"seed": 0, "methods": ["a"]}), Kept(tmp_path, {"methods": ["b"], "seed": 0})
    assert Kept(tmp_path, {"methods": ["a"], "seed": 0}).path == one.path
    one.open()
    one.add(QUESTIONS, {"timed": 1})
    assert other.open() == 0
    assert other.get(QUESTIONS) is None
    other.remove()
    assert list(tmp_path.iterdir()) == [one.path]
    assert appended.read(one.path)[0]["about"] == {"seed": 0, "methods": ["a"]}


def test_a_batch_torn_by_a_crash_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    kept = Kept(tmp_path, {})
    kept.open()
    kept.add(QUESTIONS[:2], {"timed": 1})
    with kept.path.open("ab") as file:
        file.write(b'{"questions": ["q2"')
    with pytest.warns(UserWarning, match="the last line is torn"):
        assert Kept(tmp_path, {}).open() == 1
    appended.append(kept.path, {"question": "q2"})
    with pytest.raises(ValueError, match=r"jsonl: line 3 is no batch of an evaluation; move the file away"):
        Kept(tmp_path, {}).open()
    kept.remove()
    kept.add(QUESTIONS[:2], {"timed": 1})
    with pytest.raises(ValueError, match=r"jsonl: line 1 does not say what this evaluation is about; move the file"):
        Kept(tmp_path, {}).open()


def test_an_attempt_is_kept_without_its_prompts() -> None:
    outputs = (
        StageOutput("recall", "", "Recall:", "Wood floats.", 3, "eos"),
        StageOutput("say", "A", "A:", "", 1, "cap"),
    )
    back = unpack(pack(Attempt("q0", 2, outputs, None)))
    assert (back.question_id, back.number, back.answer) == ("q0", 2, None)
    assert back.outputs == (
        StageOutput("recall", "", "", "Wood floats.", 3, "eos"),
        StageOutput("say", "A", "", "", 1, "cap"),
    )

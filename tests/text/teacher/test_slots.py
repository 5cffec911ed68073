from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from litestage.records import Question
from litestage.text.teacher.prompts import load
from litestage.text.teacher.reply import Reply
from litestage.text.teacher.slots import Journal, Settings, Slot, slots_of

PROMPTS = load(None)
QUESTION = Question("t1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")
GOOD = Reply(json.dumps({"recall": "x", "analyze": {"A": "x.", "B": "y."}, "answer": "B"}), "stop", 7, 3)
WRONG = Reply(GOOD.text.replace('"answer": "B"', '"answer": "A"'))
SETTINGS = Settings("m", samples=2, retries=1)


def slots(journal: Journal, settings: Settings = SETTINGS, question: Question = QUESTION) -> list[Slot]:
    return list(slots_of(question, settings, PROMPTS, journal))


def take(slot: Slot, journal: Journal, reply: Reply) -> None:
    journal.add(slot.key(), reply)
    slot.take(reply)


def test_a_journal_torn_in_its_first_line_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"format": "litest')
    with pytest.warns(UserWarning, match="the last line is torn"):
        journal = Journal(path)
    take(slots(journal)[0], journal, GOOD)
    assert not slots(Journal(path))[0].is_open


def test_a_slot_ends_when_it_agrees_or_is_out_of_tries(tmp_path: Path) -> None:
    first, second = slots(Journal(tmp_path / "j.jsonl"))
    first.take(GOOD)
    assert not first.is_open
    second.take(WRONG)
    assert second.is_open
    second.take(WRONG)
    assert not second.is_open


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    first, second = slots(journal)
    take(first, journal, WRONG)
    take(first, journal, GOOD)
    take(second, journal, Reply("{", "length"))
    with (tmp_path / "j.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    with pytest.warns(UserWarning, match="the last line is torn"):
        again = slots(Journal(tmp_path / "j.jsonl"))
    assert [slot.replies for slot in again] == [first.replies, second.replies]
    assert [[reading.outcome for reading in slot.readings] for slot in again] == [["disagreed", "agreed"], ["cut off"]]
    assert again[1].key() == second.key()
    assert again[1].request()["max_tokens"] == 2 * SETTINGS.max_tokens


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"temperature": 0.1}, {"max_tokens": 9}, {"form": "json"}, {"cap_field": "max_completion_tokens"}],
)
def test_another_request_is_asked_anew(tmp_path: Path, change: dict[str, object]) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    take(slots(journal)[0], journal, GOOD)
    assert not slots(journal)[0].is_open
    assert slots(journal, replace(SETTINGS, **change))[0].is_open
    assert slots(journal, question=replace(QUESTION, text="Which sinks?"))[0].is_open


def test_every_attempt_has_a_name_of_its_own(tmp_path: Path) -> None:
    first, second = slots(Journal(tmp_path / "j.jsonl"))
    keys = {first.key(), second.key()}
    first.take(WRONG)
    assert len(keys | {first.key()}) == 3


def test_more_retries_open_a_slot_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    (slot,) = slots(journal, replace(SETTINGS, samples=1, retries=0))
    take(slot, journal, WRONG)
    assert not slots(journal, replace(SETTINGS, samples=1, retries=0))[0].is_open
    assert slots(journal, replace(SETTINGS, samples=1, retries=1))[0].is_open


def test_the_request(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    body = slots(journal)[0].request()
    assert {**body, "messages": None} == {"model": "m", "messages": None, "temperature": 0.8, "max_tokens": 512}
    assert slots(journal, replace(SETTINGS, form="json"))[0].request()["response_format"] == {"type": "json_object"}
    asked = slots(journal, replace(SETTINGS, form="schema"))[0].request()["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"]["properties"]["answer"]["enum"] == ["A", "B"]
    assert asked["schema"]["properties"]["analyze"]["required"] == ["A", "B"]
    assert "max_completion_tokens" in slots(journal, replace(SETTINGS, cap_field="max_completion_tokens"))[0].request()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["[1]"], "not a 'litestage-teacher' file of version 1; move the file away"),
        (['{"format": "litestage-journal", "version": 1}'], "not a 'litestage-teacher' file"),
        (['{"format": "litestage-teacher", "version": 1}', '{"key": "x"}'], "line 2 is damaged"),
        (['{"format": "litestage-teacher", "version": 1}', '{"key": "x", "reply": {"no": 1}}'], "line 2 is damaged"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        Journal(path)

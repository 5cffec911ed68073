from __future__ import annotations

import json
from typing import Any

import pytest

from litestage.records import Question, Rationale
from litestage.text.teacher.reply import MAX_CHARACTERS, Reply, read

QUESTION = Question("t1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")
GOOD = {"recall": "Wood floats.", "analyze": {"A": "iron sinks.", "B": "wood floats."}, "answer": "B"}
SOUND = Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": {"A": "iron sinks.", "B": "wood floats."}})
TEXT = json.dumps(GOOD)
WRONG = json.dumps({**GOOD, "answer": "A"})


def changed(**change: Any) -> str:
    return json.dumps({**GOOD, **change})


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"Sure! Here it is: {TEXT} I hope it helps.",
        f'<think>The form is {{"recall": ...}}. First {WRONG}, but no.</think>{TEXT}',
        changed(answer="(B)"),
        changed(answer=" B. "),
        changed(recall="  Wood\n floats. ", more=[1]),
        changed(analyze={"B": "For option B, wood floats.", " A ": "for option (a),  iron sinks."}),
    ],
)
def test_an_agreed_reply(text: str) -> None:
    found = read(Reply(text), QUESTION)
    assert (found.outcome, found.rationale) == ("agreed", SOUND)


def test_a_whole_object_counts_though_the_reply_was_cut_off_behind_it() -> None:
    assert read(Reply(TEXT + " And then", "length"), QUESTION).outcome == "agreed"


@pytest.mark.parametrize("text", ["", "Wood floats, so B.", TEXT[:-1], TEXT.replace("}", ""), "[1]", "{" * 2000])
def test_without_an_object_a_reply_is_malformed_or_cut_off(text: str) -> None:
    assert read(Reply(text), QUESTION).outcome == "malformed"
    assert read(Reply(text, "length"), QUESTION).outcome == "cut off"


def test_depth_and_length_do_no_harm() -> None:
    assert read(Reply('{"recall":' * 50_000), QUESTION).outcome == "malformed"
    assert read(Reply(" " * MAX_CHARACTERS + TEXT), QUESTION).outcome == "malformed"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (changed(answer="C"), "answer is none of the question's letters"),
        (changed(answer="b"), "answer is none of the question's letters"),
        (changed(answer="A or B"), "answer is none of the question's letters"),
        (changed(answer=["B"]), "answer is none of the question's letters"),
        (changed(answer=None), "answer is none of the question's letters"),
        (changed(recall=""), "field 'recall': value ''; expected a text that is not empty"),
        (changed(recall=None), "field 'recall': value None; expected a text, or an object: option label -> text"),
        (changed(recall=GOOD["analyze"]), "recall is no text, or analyze has no texts by option"),
        (changed(analyze="wood."), "recall is no text, or analyze has no texts by option"),
        (changed(analyze={"B": "x."}), "field 'analyze.A': value None; expected a text for each of the question's"),
        (changed(analyze={"A": "x.", "B": 3}), "field 'analyze.B': value 3; expected a text that is not empty"),
        (
            changed(analyze={**GOOD["analyze"], "C": "x."}),
            "field 'analyze.C': value 'C'; expected one of the question's",
        ),
        (TEXT.replace('"B": "w', '"A": "w'), "no JSON object with recall"),
    ],
)
def test_a_malformed_reply(text: str, why: str) -> None:
    found = read(Reply(text), QUESTION)
    assert (found.outcome, found.rationale) == ("malformed", None)
    assert found.why.startswith(why)


def test_another_conclusion_disagrees() -> None:
    assert read(Reply(WRONG), QUESTION).outcome == "disagreed"
    assert read(Reply(f"{TEXT} or rather {WRONG}"), QUESTION).outcome == "disagreed"

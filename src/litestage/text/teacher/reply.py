"""From a teacher's reply to a rationale, or to the reason why there is none. A reply is data: nothing in it is run.

read(Reply('{"recall": "...", "analyze": {"A": "...", "B": "..."}, "answer": "B"}'), question).outcome  # "agreed"
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from litestage.records import Question, Rationale
from litestage.text.jsonl import unique
from litestage.text.rationales.form import faults, made

MAX_CHARACTERS = 100_000
"""What comes after so many characters of a reply is not looked at."""
ANSWER = re.compile(r"\(?([A-Z])\)?\.?")
CUE = re.compile(r"for option \(?[a-z]\)?,\s*", re.IGNORECASE)
DECODER = json.JSONDecoder(object_pairs_hook=unique)

Outcome = Literal["agreed", "disagreed", "malformed", "cut off"]


@dataclass(frozen=True)
class Reply:
    """What the server sent."""

    text: str
    finish: str = "stop"
    """Why it ended; `length` when it reached the cap."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Reading:
    """What a reply came to."""

    outcome: Outcome
    rationale: Rationale | None = None
    """Of an agreed reply."""
    why: str = ""
    """What is wrong with a malformed one."""


def read(reply: Reply, question: Question) -> Reading:
    """Look for the answer's JSON object; its form must be right and its conclusion the gold label.

    The last object with a recall counts, so that thinking aloud, or quoting an object before the answer, does no harm.
    """
    found = _object(reply.text[:MAX_CHARACTERS])
    if found is None:
        return (
            Reading("cut off") if reply.finish == "length" else Reading("malformed", why="no JSON object with recall")
        )
    row = {"id": question.id, "recall": _line(found["recall"]), "analyze": _lines(found.get("analyze"))}
    for fault in faults(row, "reply", {question.id: list(question.options)}, ("recall", "analyze")):
        return Reading("malformed", why=str(fault).removeprefix("reply: "))
    if not isinstance(row["recall"], str) or not isinstance(row["analyze"], dict):
        return Reading("malformed", why="recall is no text, or analyze has no texts by option")
    answer = ANSWER.fullmatch(found["answer"].strip()) if isinstance(found.get("answer"), str) else None
    if answer is None or answer[1] not in question.options:
        return Reading("malformed", why="answer is none of the question's letters")
    return Reading("agreed", made(row, "")) if answer[1] == question.answer else Reading("disagreed")


def _object(text: str) -> dict[str, Any] | None:
    """The last JSON object in the text that has a recall."""
    found = None
    at = text.find("{")
    while at >= 0:
        try:
            parsed, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = parsed if "recall" in parsed else found
        at = text.find("{", end)
    return found


def _lines(value: Any) -> Any:
    """The texts by label on one line each, without the words they go on from."""
    if not isinstance(value, dict):
        return value
    return {
        label.strip(): CUE.sub("", line, count=1) if isinstance(line := _line(said), str) and CUE.match(line) else line
        for label, said in value.items()
    }


def _line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value

"""`answers.jsonl`: the greedy answers of a run, one line a question and method, with what every stage wrote.

write_answers(folder, module.questions, {"full depth": attempts, "litestage": others})
read_answers(folder / "answers.jsonl")[0].answers["litestage"].answer     # "B", or None where unparsed
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestage.records import Attempt, Question
from litestage.report.writing import write_whole
from litestage.text.jsonl import bad, rows

FILE = "answers.jsonl"
METHODS = ("full depth", "litestage", "litestage without exit")
"""What is kept, as far as it was run."""


@dataclass(frozen=True)
class Output:
    """What one stage wrote, for one option where it fans out (else `option` is empty)."""

    stage: str
    option: str
    text: str
    tokens: int
    stop: str


@dataclass(frozen=True)
class Answer:
    """One method's answer to a question; `answer` is `None` where the last output names no option."""

    answer: str | None
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Answered:
    """A question and what each method made of it, in the order of the file."""

    question: Question
    answers: dict[str, Answer] = field(default_factory=dict)


def write_answers(folder: Path, questions: Sequence[Question], methods: Mapping[str, Sequence[Attempt]]) -> Path:
    """Write `answers.jsonl` into a run's folder.

    Args:
        folder: the run's folder.
        questions: the questions.
        methods: name -> one greedy attempt a question, in their order; those not in `METHODS` are left out.
    """
    return write_whole(folder / FILE, _lines(questions, methods))


def _lines(questions: Sequence[Question], methods: Mapping[str, Sequence[Attempt]]) -> Iterator[str]:
    kept = {name: methods[name] for name in METHODS if name in methods}
    for number, question in enumerate(questions):
        for name, attempts in kept.items():
            attempt = attempts[number]
            if attempt.question_id != question.id:
                raise ValueError(f"{name}: answer {number} is to question {attempt.question_id}, not {question.id}")
            row = {
                "id": question.id,
                "question": question.text,
                "options": dict(question.options),
                "gold": question.answer,
                "method": name,
                "answer": attempt.answer,
                "outputs": [
                    {"stage": o.stage, "option": o.label, "text": o.text, "tokens": o.tokens, "stop": o.stop}
                    for o in attempt.outputs
                ],
            }
            yield json.dumps(row, ensure_ascii=False) + "\n"


def read_answers(path: Path) -> list[Answered]:
    """Read what `write_answers` wrote.

    Raises:
        ValueError: a line is damaged; names file, line and field.
    """
    found: dict[str, Answered] = {}
    for where, row in rows(path):
        answers = found.setdefault(_get(row, "id", str, where), Answered(_question(row, where))).answers
        method = _get(row, "method", str, where)
        if method in answers:
            raise bad(where, "method", method, "each method once a question")
        answers[method] = Answer(_get(row, "answer", (str, type(None)), where), tuple(_outputs(row, where)))
    return list(found.values())


def _question(row: Mapping[str, Any], where: str) -> Question:
    options = _get(row, "options", dict, where)
    if not all(isinstance(text, str) for text in options.values()):
        raise bad(where, "options", options, "label -> text")
    gold = _get(row, "gold", (str, type(None)), where)
    return Question(row["id"], _get(row, "question", str, where), options, gold)


def _outputs(row: Mapping[str, Any], where: str) -> Iterator[Output]:
    for output in _get(row, "outputs", list, where):
        if not isinstance(output, dict):
            raise bad(where, "outputs", output, "a list of objects")
        stage, option, text, stop = (_get(output, name, str, where) for name in ("stage", "option", "text", "stop"))
        yield Output(stage, option, text, _get(output, "tokens", int, where), stop)


def _get(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    if name not in row or not isinstance(row[name], kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise bad(where, name, row.get(name), " or ".join(_WORDS[k] for k in kinds))
    return row[name]


_WORDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object", type(None): "null"}

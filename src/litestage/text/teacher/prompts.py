"""What the teacher is told: three text files, the package's own or a user's.

`system.txt` is sent as it is. `question.txt` is the template of a question. `examples.jsonl` holds worked examples:
own questions that also have recall and analyze. A question travels as one JSON object, so nothing in its text can end
the quotation it stands in.

    messages(load(None), question)  # [{"role": "system", "content": "..."}, ..., {"role": "user", "content": "..."}]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from string import Formatter
from typing import Any

from litestage.records import Question
from litestage.text.benchmarks import own
from litestage.text.jsonl import rows
from litestage.text.rationales.form import faults, made

FIELDS = {
    "data": "question and options as one JSON object",
    "labels": "the options' letters",
    "answer": "the gold label",
}
"""Fields of the question's template; the packaged one leaves the gold label out."""
PACKAGED = "litestage/text/data/teacher"
NAMES = ("system.txt", "question.txt", "examples.jsonl")

Message = dict[str, str]


@dataclass(frozen=True)
class Prompts:
    """The teacher's instructions."""

    system: str
    question: str
    """Template with `FIELDS`."""
    examples: tuple[tuple[Question, str], ...]
    """Worked questions, each with the answer that the teacher should have given."""


def load(folder: Path | None) -> Prompts:
    """The prompts of a folder, or the packaged ones.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a template has an unknown field or does not show the question, or an example is wrong.
    """
    if folder is None:
        with as_file(files("litestage.text.data").joinpath("teacher")) as packaged:
            return load(packaged)
    missing = [name for name in NAMES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder}: {missing} missing; expected {list(NAMES)}, as in {PACKAGED}")
    system, question = ((folder / name).read_text(encoding="utf-8").strip() for name in NAMES[:2])
    _check(question, str(folder / "question.txt"))
    examples = tuple(_example(row, where) for where, row in rows(folder / "examples.jsonl"))
    return Prompts(system, question, examples)


def messages(prompts: Prompts, question: Question) -> list[Message]:
    """The conversation that ends in the question."""
    told = [{"role": "system", "content": prompts.system}]
    for example, answer in prompts.examples:
        told += [
            {"role": "user", "content": _filled(prompts.question, example)},
            {"role": "assistant", "content": answer},
        ]
    return [*told, {"role": "user", "content": _filled(prompts.question, question)}]


def _filled(template: str, question: Question) -> str:
    data = json.dumps({"question": question.text, "options": dict(question.options)}, ensure_ascii=False)
    return template.format(data=data, labels=", ".join(question.options), answer=question.answer)


def _check(template: str, where: str) -> None:
    known = ", ".join(f"{{{name}}} ({what})" for name, what in FIELDS.items())
    try:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"{where}: not a template ({error}); write {{{{ and }}}} for braces that are meant") from error
    for name in fields:
        if name not in FIELDS:
            raise ValueError(f"{where}: unknown field {{{name}}}; known are {known}; write {{{{ and }}}} for braces")
    if "data" not in fields:
        raise ValueError(f"{where}: does not show the question; expected the field {{data}} among {known}")


def _example(row: Mapping[str, Any], where: str) -> tuple[Question, str]:
    question = own.question(row, where)
    reasoned = {name: row.get(name) for name in ("id", "recall", "analyze")}
    for fault in faults(reasoned, where, {question.id: list(question.options)}, ("recall", "analyze")):
        raise fault
    texts = made(reasoned, where).texts
    answer = {"recall": texts["recall"][""], "analyze": dict(texts["analyze"]), "answer": question.answer}
    return question, json.dumps(answer, ensure_ascii=False)

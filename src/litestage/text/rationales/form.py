"""The form of one written rationale, and everything that can be wrong with it.

for fault in faults(row, "mine.jsonl:3", {"q1": "ABCD"}):
    print(fault)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from litestage.records import Rationale
from litestage.text.jsonl import bad

LABEL = re.compile("[A-Z]")
Labels = Mapping[str, Sequence[str]]
"""Question id -> the labels of its options."""
Written = dict[str, list[Rationale]]
"""Question id -> its rationales, in the order of the file."""


def made(row: Mapping[str, Any], where: str) -> Rationale:
    """The rationale of a row without faults; `where` is its file and line."""
    texts = {
        stage: {"": value.strip()} if isinstance(value, str) else {label: said.strip() for label, said in value.items()}
        for stage, value in row.items()
        if stage != "id"
    }
    return Rationale(row["id"].strip(), texts, where)


def row(rationale: Rationale) -> dict[str, Any]:
    """The row that `made` reads as this rationale."""
    texts = {stage: said[""] if set(said) == {""} else dict(said) for stage, said in rationale.texts.items()}
    return {"id": rationale.id, **texts}


def faults(
    row: Mapping[str, Any], where: str, known: Labels | None = None, stages: Sequence[str] = ()
) -> Iterator[ValueError]:
    """Everything that is wrong with a row, in the order of its fields.

    Args:
        row: `id`, and under a stage's name its text or an object: option label -> text.
        where: file and line, for the messages.
        known: the questions there are, with their labels; `None` leaves open which ids are right.
        stages: stages the row must have, whatever others it has.
    """
    id_ = row.get("id")
    if _is_empty(id_):
        yield bad(where, "id", id_, "a text that is not empty")
    elif known is not None and str(id_).strip() not in known:
        yield bad(where, "id", id_, f"the id of one of the {len(known)} questions")
    labels = None if known is None or not isinstance(id_, str) else known.get(id_.strip())
    found = [name for name in row if name != "id"]
    for name in stages or (() if found else ("recall",)):
        if name not in found:
            yield bad(where, name, None, "a text, or an object: option label -> text")
    for name in found:
        if not name.isidentifier():
            yield bad(where, name, row[name], "a stage's name here, a plain word such as 'recall'")
        elif isinstance(row[name], dict) and row[name]:
            yield from _label_faults(row[name], where, name, labels)
        elif not isinstance(row[name], str):
            yield bad(where, name, row[name], "a text, or an object: option label -> text")
        elif _is_empty(row[name]):
            yield bad(where, name, row[name], "a text that is not empty")


def _label_faults(
    texts: Mapping[str, Any], where: str, stage: str, labels: Sequence[str] | None
) -> Iterator[ValueError]:
    """What is wrong with a stage that has a text for each option."""
    for label, said in texts.items():
        field = f"{stage}.{label}"
        if not LABEL.fullmatch(label):
            yield bad(where, field, label, "an option label here, one capital letter")
        elif labels is not None and label not in labels:
            yield bad(where, field, label, f"one of the question's labels {list(labels)}")
        if _is_empty(said):
            yield bad(where, field, said, "a text that is not empty")
    for label in labels or ():
        if label not in texts:
            yield bad(where, f"{stage}.{label}", None, f"a text for each of the question's labels {list(labels or ())}")


def _is_empty(value: object) -> bool:
    return not isinstance(value, str) or not value.strip()

"""Your own questions, one JSON object a line; `docs/your-data.md` explains the form.

{"id": "q1", "question": "Which one floats?", "options": {"A": "a log", "B": "a nail"}, "answer": "A", "split": "test"}

    splits = read("questions.jsonl", seed=0)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from litestage.records import Question
from litestage.text.benchmarks.sources import deal, unique
from litestage.text.jsonl import bad, rows, text

SPLITS = ("train", "validation", "test")
SUFFIXES = (".jsonl", ".jsonl.gz")
DRAWN = ""
"""Stands for the split of questions that name none."""


def read(source: str | Path, seed: int) -> dict[str, list[Question]]:
    """Split -> questions: as the field `split` says, else shuffled by the seed into 80, 10 and 10 %.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is wrong, an id occurs twice, or a split would be empty.
    """
    found = grouped(source)
    drawn = found.get(DRAWN)
    if drawn is not None and len(drawn) >= len(SPLITS):
        return deal(drawn, f"{seed}-own")
    if drawn is not None or not found:
        raise ValueError(f"{source}: found {len(drawn or ())} questions; three splits need at least 3")
    empty = [split for split in SPLITS if split not in found]
    if empty:
        raise ValueError(f"{source}: no question has the split {empty}; use all of {list(SPLITS)}, or leave split out")
    return found


def grouped(source: str | Path) -> dict[str, list[Question]]:
    """Split -> its questions, as the file has them; `DRAWN` stands for none. Raises as `read`, but splits may lack."""
    return unique(_questions(Path(source).expanduser()))


def _questions(path: Path) -> Iterator[tuple[str, str, Question]]:
    """(split, "file:line", question) of every row; all of them name a split, or none does."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected JSON lines with id, question, options and answer")
    first: tuple[str, bool] | None = None
    for where, row in rows(path):
        split = row.get("split")
        if split is not None and split not in SPLITS:
            raise bad(where, "split", split, f"one of {list(SPLITS)}, or no split in any line")
        first = first or (where, split is None)
        if first[1] != (split is None):
            wanted = "none" if first[1] else f"one of {list(SPLITS)}"
            raise bad(where, "split", split, f"{wanted}, as in {first[0]}: every line names a split, or none does")
        yield split or DRAWN, where, question(row, where)


def question(row: Mapping[str, Any], where: str) -> Question:
    given = row.get("options")
    if not isinstance(given, dict) or not 2 <= len(given) <= 26:
        raise bad(where, "options", given, "an object with 2 to 26 options: label -> text")
    options: dict[str, str] = {}
    for label in given:
        if not re.fullmatch("[A-Z]", label):
            raise bad(where, f"options.{label}", label, "one capital letter as the label")
        said = text(given, label, where, f"options.{label}")
        same = next((other for other, known in options.items() if known == said), None)
        if same is not None:
            raise bad(where, f"options.{label}", said, f"a text that no other option has; {same} has it too")
        options[label] = said
    answer = row.get("answer")
    if not isinstance(answer, str) or answer not in options:
        raise bad(where, "answer", answer, f"one of the labels {list(options)}")
    return Question(text(row, "id", where), text(row, "question", where), options, answer)

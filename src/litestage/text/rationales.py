"""Written reasoning of training questions, joined to them by id.

One JSON object a line: {"id": "7-980", "recall": "...", "analyze": {"A": "...", "B": "..."}}

    rationales = load("obqa")            # the packaged ones
    rationales = read("my.jsonl.gz")     # your own
    pairs = join(questions, rationales)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from litestage.records import Question, Rationale
from litestage.text.jsonl import bad, rows, text

PACKAGED = ("obqa",)
"""Benchmarks whose rationales come with the package."""


def load(benchmark: str, keep_questionable: bool = False) -> dict[str, Rationale]:
    """Question id -> packaged rationale.

    Args:
        benchmark: one of `PACKAGED`.
        keep_questionable: whether those whose gold label is known to be wrong are kept.

    Raises:
        ValueError: the package has no rationales for `benchmark`.
    """
    if benchmark not in PACKAGED:
        raise ValueError(f"no packaged rationales for benchmark {benchmark!r}; there are some for {list(PACKAGED)}")
    data = files("litestage.text.data")
    with as_file(data.joinpath(f"rationales_{benchmark}.jsonl.gz")) as path:
        found = read(path)
    if keep_questionable:
        return found
    questionable = set(data.joinpath("questionable.txt").read_text(encoding="utf-8").split())
    return {id_: rationale for id_, rationale in found.items() if id_ not in questionable}


def read(path: str | Path) -> dict[str, Rationale]:
    """Question id -> rationale, from a JSONL file (or `.jsonl.gz`) of rows `{id, recall, analyze{label: sentence}}`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is wrong; the message names file, line and field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected JSON lines with id, recall and analyze")
    found: dict[str, Rationale] = {}
    for where, row in rows(path):
        id_ = text(row, "id", where)
        if id_ in found:
            raise bad(where, "id", id_, "an id that no earlier line has")
        analyze = row.get("analyze")
        if not isinstance(analyze, dict) or not analyze:
            raise bad(where, "analyze", analyze, "an object: option label -> sentence")
        sentences = {label: text(analyze, label, where, f"analyze.{label}") for label in analyze}
        found[id_] = Rationale(id_, {"recall": {"": text(row, "recall", where)}, "analyze": sentences})
    return found


def join(questions: Sequence[Question], rationales: Mapping[str, Rationale]) -> list[tuple[Question, Rationale]]:
    """Pair questions with their rationales; a question without one is left out.

    Raises:
        ValueError: a rationale is written for other options than its question has.
    """
    pairs = []
    for question in questions:
        rationale = rationales.get(question.id)
        if rationale is None:
            continue
        for stage, texts in rationale.texts.items():
            if set(texts) != {""} and set(texts) != set(question.options):
                raise ValueError(
                    f"question {question.id}: its rationale has {stage} texts for {sorted(texts)}; "
                    f"the question's options are {sorted(question.options)}"
                )
        pairs.append((question, rationale))
    return pairs

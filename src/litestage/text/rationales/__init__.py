"""Written reasoning of training questions, joined to them by id.

One JSON object a line, a stage's text or its texts by option label under the stage's name; a question may have several:
{"id": "7-980", "recall": "...", "analyze": {"A": "...", "B": "..."}}

    written = load("obqa")               # the packaged ones
    written = read("my.jsonl.gz")        # your own, or a folder with TinyThinker's files
    pairs = join(questions, written)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from operator import attrgetter
from pathlib import Path

from litestage.records import Question, Rationale
from litestage.text.jsonl import rows
from litestage.text.rationales import tinythinker
from litestage.text.rationales.form import Written, faults, made

PACKAGED = ("obqa", "csqa", "strategyqa")
"""Benchmarks whose rationales come with the package."""


def load(benchmark: str, keep_questionable: bool = False) -> Written:
    """The packaged rationales of a benchmark.

    Args:
        benchmark: one of `PACKAGED`.
        keep_questionable: whether those whose gold label is known to be wrong are kept.

    Raises:
        ValueError: the package has no rationales for `benchmark`.
    """
    if benchmark not in PACKAGED:
        raise ValueError(f"no packaged rationales for benchmark {benchmark!r}; there are some for {list(PACKAGED)}")
    with as_file(files("litestage.text.data").joinpath(f"rationales_{benchmark}.jsonl.gz")) as path:
        found = read(path)
    left_out = frozenset() if keep_questionable else questionable()
    return {id_: written for id_, written in found.items() if id_ not in left_out}


def questionable() -> frozenset[str]:
    """Ids of packaged rationales whose gold label is known to be wrong."""
    listed = files("litestage.text.data").joinpath("questionable.txt").read_text(encoding="utf-8")
    return frozenset(listed.split())


def read(path: str | Path, questions: Sequence[Question] | None = None) -> Written:
    """Rationales from a JSONL file (or `.jsonl.gz`), or from a folder with TinyThinker's files.

    Args:
        path: the file, its form is in `docs/your-data.md`, or the folder.
        questions: the questions they are about; others are refused. A folder needs them.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a row is wrong; the message names file, line and field.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if questions is None:
            raise ValueError(f"{path}: TinyThinker's files name no ids; tell which questions they are about")
        return tinythinker.read(path, questions)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected JSON lines with id, recall and analyze, or a folder of TinyThinker's files"
        )
    known = None if questions is None else {question.id: list(question.options) for question in questions}
    found: Written = {}
    for where, row in rows(path):
        for fault in faults(row, where, known):
            raise fault
        rationale = made(row, where)
        found.setdefault(rationale.id, []).append(rationale)
    return found


def join(
    questions: Sequence[Question],
    written: Mapping[str, Sequence[Rationale]],
    key: Callable[[Question], str] = attrgetter("id"),
) -> list[tuple[Question, Rationale]]:
    """Pair each question with each of its rationales; a question without one is left out.

    Args:
        questions: the questions.
        written: rationales by id.
        key: the id that a question's rationales have.

    Raises:
        ValueError: a rationale is written for other options than its question has.
    """
    pairs = []
    for question in questions:
        for rationale in written.get(key(question), ()):
            for stage, texts in rationale.texts.items():
                if set(texts) != {""} and set(texts) != set(question.options):
                    raise ValueError(
                        f"question {question.id}: its rationale has {stage} texts for {sorted(texts)}; "
                        f"the question's options are {sorted(question.options)}"
                    )
            pairs.append((question, rationale))
    return pairs

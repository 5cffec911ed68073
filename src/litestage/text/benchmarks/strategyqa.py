"""StrategyQA (Geva et al., 2021): the 2290 public questions, shuffled into 1832 for training and twice 229.

Its two releases (the paper's repository; the authors' zip, which the hub has) number the same questions differently.
So questions are told apart by `key`, a hash of their text: the same seed holds out the same ones from either, and the
packaged rationales fit both.

    splits = read("ChilleD/StrategyQA", seed=0)      # or a folder with train.json and dev.json
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from litestage.records import Question
from litestage.text.benchmarks import sources
from litestage.text.benchmarks.sources import Origin
from litestage.text.jsonl import bad, text

ORIGIN = Origin(
    hub="ChilleD/StrategyQA",
    config=None,
    splits=(),
    files={"train": "train.json", "dev": "dev.json"},
    page="the folder data/strategyqa of https://github.com/eladsegal/strategyqa",
)
ZIP = "strategyqa_train.json"
"""The one file with answers in the authors' zip."""
OPTIONS = {"A": "yes", "B": "no"}


def read(source: str, seed: int) -> dict[str, list[Question]]:
    """Split -> questions; the seed decides which question is in which split.

    Raises:
        FileNotFoundError: there is neither such a folder nor such a data set, or a file is missing.
        ValueError: a row is wrong, an id occurs twice, or there are fewer than three questions.
    """
    is_zip = (Path(source).expanduser() / ZIP).is_file()
    rows = sources.read(source, replace(ORIGIN, files={"train": ZIP}) if is_zip else ORIGIN)
    questions = sources.unique(("all", where, _question(row, where)) for _, where, row in rows).get("all", [])
    if len(questions) < 3:
        raise ValueError(f"{source}: found {len(questions)} questions; three splits need at least 3")
    return sources.deal(questions, f"{seed}-strategyqa", key)


def key(question: Question) -> str:
    """Twenty hex digits that name a question in every release: sha256 of its text, whatever its case and blanks."""
    return sha256(" ".join(question.text.casefold().split()).encode()).hexdigest()[:20]


def _question(row: dict[str, Any], where: str) -> Question:
    answer = row.get("answer")
    if not isinstance(answer, bool):
        raise bad(where, "answer", answer, "true or false")
    return Question(text(row, "qid", where), text(row, "question", where), dict(OPTIONS), "A" if answer else "B")

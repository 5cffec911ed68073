"""OpenBookQA (Mihaylov et al., 2018): 4957 training, 500 validation and 500 test questions, as published.

splits = read("allenai/openbookqa", seed=0)      # or a folder with train.jsonl, dev.jsonl, test.jsonl
"""

from __future__ import annotations

from litestage.records import Question
from litestage.text.benchmarks.choices import questions
from litestage.text.benchmarks.sources import Origin

ORIGIN = Origin(
    hub="allenai/openbookqa",
    config="main",
    splits=("train", "validation", "test"),
    files={"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"},
    page="the folder Data/Main of OpenBookQA-V1-Sep2018.zip from https://allenai.org/data/open-book-qa",
)


def read(source: str, seed: int) -> dict[str, list[Question]]:
    """Split -> questions; the official splits need no seed. Raises as `choices.questions` does."""
    found = questions(source, ORIGIN)
    return {split: found.get(split, []) for split in ORIGIN.splits}

"""CommonsenseQA (Talmor et al., 2019), random split: 8520 training, 1221 validation and 1221 test questions.

The official test questions have no public answers, so the official dev questions are the test, and as many random
training questions the validation.

    splits = read("tau/commonsense_qa", seed=0)      # or a folder with train_rand_split.jsonl, dev_rand_split.jsonl
"""

from __future__ import annotations

from litestage.records import Question
from litestage.text.benchmarks.choices import questions
from litestage.text.benchmarks.sources import Origin, shuffled

ORIGIN = Origin(
    hub="tau/commonsense_qa",
    config=None,
    splits=("train", "validation"),
    files={"train": "train_rand_split.jsonl", "validation": "dev_rand_split.jsonl"},
    page="https://www.tau-nlp.org/commonsenseqa",
)
VALIDATION = 1221
"""Training questions held out for validation."""


def read(source: str, seed: int) -> dict[str, list[Question]]:
    """Split -> questions; the seed decides which training questions are held out.

    Raises:
        FileNotFoundError: there is neither such a folder nor such a data set, or a file is missing.
        ValueError: a row is wrong, an id occurs twice, or there are too few training questions.
    """
    found = questions(source, ORIGIN)
    train, test = found.get("train", []), found.get("validation", [])
    if len(train) <= VALIDATION:
        raise ValueError(f"{source}: found {len(train)} training questions; validation alone takes {VALIDATION}")
    validation = shuffled(train, f"{seed}-csqa")[:VALIDATION]
    held = {question.id for question in validation}
    return {"train": [q for q in train if q.id not in held], "validation": validation, "test": test}

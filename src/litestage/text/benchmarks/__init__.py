"""Benchmarks as splits of questions: the embedded miniworld, three published ones, and your own questions.

splits = load(DataSettings(benchmark="csqa", source="data/csqa"), seed=0)
question, rationale = splits.train[0]
split_hash(splits.test)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from random import Random
from typing import TypeVar

from litestage.config import DataSettings
from litestage.records import Question, Rationale
from litestage.text import miniworld, rationales
from litestage.text.benchmarks import csqa, obqa, own, strategyqa
from litestage.text.benchmarks.sources import Origin

Item = TypeVar("Item")


@dataclass(frozen=True)
class Splits:
    """A benchmark. Only training questions carry reasoning; one with several rationales comes several times."""

    train: tuple[tuple[Question, Rationale], ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]


@dataclass(frozen=True)
class Published:
    """A published benchmark."""

    origin: Origin
    read: Callable[[str, int], dict[str, list[Question]]]
    """Source and seed -> split -> questions."""
    key: Callable[[Question], str] = attrgetter("id")
    """The id that a question's packaged rationales have."""


PUBLISHED = {
    "obqa": Published(obqa.ORIGIN, obqa.read),
    "csqa": Published(csqa.ORIGIN, csqa.read),
    "strategyqa": Published(strategyqa.ORIGIN, strategyqa.read, strategyqa.key),
}


def load(settings: DataSettings, seed: int) -> Splits:
    """The benchmark of one experiment. A warning counts the training questions that have no rationale.

    Args:
        settings: the group `data`: benchmark, source, rationales and sizes.
        seed: of generated questions (miniworld), of splits that are drawn, and of the random subsets.

    Raises:
        FileNotFoundError: the source or the file of rationales is not there.
        ValueError: a row is wrong, no training question has a rationale, or a split has fewer questions than its
            size asks for.
    """
    sizes = {"train": settings.train_size, "validation": settings.validation_size, "test": settings.test_size}
    if settings.benchmark == "miniworld":
        given = {split: size for split, size in sizes.items() if size is not None}
        made = miniworld.build(seed, **given, held_out=settings.held_out)
        asked = {split: [question for question, _ in made[split]] for split in ("validation", "test")}
        return Splits(tuple(made["train"]), tuple(asked["validation"]), tuple(asked["test"]))
    questions = read(settings.benchmark, settings.source, seed)
    pairs = _pairs(settings, questions)
    learned = list(dict.fromkeys(question.id for question, _ in pairs))
    chosen = set(_subset(learned, "train", sizes["train"], seed))
    return Splits(
        tuple(pair for pair in pairs if pair[0].id in chosen),
        _subset(questions["validation"], "validation", sizes["validation"], seed),
        _subset(questions["test"], "test", sizes["test"], seed),
    )


def read(benchmark: str, source: str | None, seed: int) -> dict[str, list[Question]]:
    """Split -> all questions of a benchmark, without reasoning.

    Args:
        benchmark: as `data.benchmark`.
        source: as `data.source`.
        seed: of generated questions (miniworld) and of splits that are drawn.

    Raises:
        FileNotFoundError: the source is not there.
        ValueError: a row is wrong, or a split would be empty.
    """
    if benchmark == "miniworld":
        return {split: [question for question, _ in pairs] for split, pairs in miniworld.build(seed).items()}
    published = PUBLISHED.get(benchmark)
    if published is None:
        return own.read(benchmark, seed)
    return published.read(source or published.origin.hub, seed)


def split_hash(questions: Sequence[Question]) -> str:
    """Twelve hex digits that name these questions in this order: sha256 over their ids."""
    return sha256("\n".join(question.id for question in questions).encode()).hexdigest()[:12]


def _pairs(settings: DataSettings, questions: dict[str, list[Question]]) -> list[tuple[Question, Rationale]]:
    """Training questions with their rationales; says how many have none."""
    train = questions["train"]
    published = PUBLISHED.get(settings.benchmark)
    key: Callable[[Question], str] = attrgetter("id")
    left_out: frozenset[str] = frozenset()
    if settings.rationales is not None:
        written = rationales.read(settings.rationales, [question for split in questions.values() for question in split])
    elif published is not None:
        written = rationales.load(settings.benchmark, settings.keep_questionable)
        key = published.key
        left_out = frozenset() if settings.keep_questionable else rationales.questionable()
    else:
        warnings.warn(
            f"{settings.benchmark}: no rationales (data.rationales is null); only stages whose target has no "
            "{rationale} can be learned",
            stacklevel=3,
        )
        return [(question, Rationale(question.id, {})) for question in train]
    pairs = rationales.join(train, written, key)
    if not pairs:
        named = settings.rationales or settings.source or settings.benchmark
        raise ValueError(f"{named}: no training question has a rationale; are the ids the benchmark's own?")
    without = [question for question in train if key(question) not in written and key(question) not in left_out]
    if without:
        warnings.warn(
            f"{settings.benchmark}: {len(without)} of {len(train)} training questions have no rationale and are left "
            "out of fine-tuning",
            stacklevel=3,
        )
    return pairs


def _subset(items: Sequence[Item], split: str, size: int | None, seed: int) -> tuple[Item, ...]:
    """A seeded random subset in the original order; all items when `size` is `None`."""
    if size is None:
        return tuple(items)
    if size > len(items):
        raise ValueError(f"data.{split}_size is {size}; the split has {len(items)} usable questions")
    chosen = Random(f"{seed}-{split}").sample(range(len(items)), size)
    return tuple(items[i] for i in sorted(chosen))

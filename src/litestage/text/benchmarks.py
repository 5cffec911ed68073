"""Benchmarks as splits of questions: the embedded miniworld, and OpenBookQA from the hub or from a local folder.

splits = load(DataSettings(benchmark="obqa", source="data/openbookqa"), seed=0)
question, rationale = splits.train[0]
split_hash(splits.test)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from litestage.config import DataSettings
from litestage.records import Question, Rationale
from litestage.text import miniworld, rationales
from litestage.text.jsonl import bad, rows, text

SPLITS = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
"""Split -> its file in a local folder of OpenBookQA."""
HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Splits:
    """A benchmark. Only training questions carry reasoning."""

    train: tuple[tuple[Question, Rationale], ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]


def load(settings: DataSettings, seed: int) -> Splits:
    """The benchmark of one experiment.

    Args:
        settings: the group `data`: benchmark, source and sizes.
        seed: of the generated questions (miniworld) or of the random subsets (obqa).

    Raises:
        FileNotFoundError: the source is not there.
        ValueError: a row is wrong, or a split has fewer questions than its size asks for.
    """
    sizes = {"train": settings.train_size, "validation": settings.validation_size, "test": settings.test_size}
    if settings.benchmark == "miniworld":
        made = miniworld.build(seed, **{split: size for split, size in sizes.items() if size is not None})
        asked = {split: [question for question, _ in made[split]] for split in ("validation", "test")}
        return Splits(tuple(made["train"]), tuple(asked["validation"]), tuple(asked["test"]))
    questions = load_obqa(settings.source)
    written = rationales.load(settings.benchmark, settings.keep_questionable)
    pairs = rationales.join(questions["train"], written)
    if not pairs:
        raise ValueError(f"{settings.source}: no training question has a rationale; are the ids the benchmark's own?")
    return Splits(
        _subset(pairs, "train", sizes["train"], seed),
        _subset(questions["validation"], "validation", sizes["validation"], seed),
        _subset(questions["test"], "test", sizes["test"], seed),
    )


def split_hash(questions: Sequence[Question]) -> str:
    """Twelve hex digits that name these questions in this order: sha256 over their ids."""
    return sha256("\n".join(question.id for question in questions).encode()).hexdigest()[:12]


def load_obqa(source: str) -> dict[str, list[Question]]:
    """OpenBookQA (Mihaylov et al., 2018): split name -> questions.

    Args:
        source: folder with the original `train.jsonl`, `dev.jsonl` and `test.jsonl`, or a hub id such as
            `allenai/openbookqa`, with or without `@revision`.

    Raises:
        FileNotFoundError: there is neither such a folder nor such a data set, or a file is missing.
        ValueError: a row is wrong, or an id occurs twice; the message names file, line and field.
    """
    folder = Path(source).expanduser()
    read = _local_rows(folder) if folder.is_dir() else _hub_rows(source)
    found: dict[str, list[Question]] = {split: [] for split in SPLITS}
    first: dict[str, str] = {}
    for split, where, row in read:
        question = _question(row, where)
        if question.id in first:
            raise bad(where, "id", question.id, f"an id that occurs once; {first[question.id]} has it too")
        first[question.id] = where
        found[split].append(question)
    return found


def _local_rows(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(split, "file:line", row) of the original files."""
    missing = [name for name in SPLITS.values() if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {missing} missing; expected {list(SPLITS.values())}, as in the folder Data/Main of "
            "OpenBookQA-V1-Sep2018.zip from https://allenai.org/data/open-book-qa"
        )
    for split, name in SPLITS.items():
        for where, row in rows(folder / name):
            question = row.get("question")
            if not isinstance(question, dict):
                raise bad(where, "question", question, "an object with stem and choices")
            choices = question.get("choices")
            if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
                raise bad(where, "question.choices", choices, "a list of objects with text and label")
            yield split, where, {**row, "stem": question.get("stem"), "choices": choices}


def _hub_rows(source: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(split, "data set split:row", row) of the hub's `main` configuration, in the form of the original files."""
    match = HUB_ID.fullmatch(source)
    if match is None:
        raise FileNotFoundError(
            f"{source}: no such folder; expected a folder with {list(SPLITS.values())}, or a hub id such as "
            "'allenai/openbookqa' or 'allenai/openbookqa@main'"
        )
    import datasets  # slow to import, and a local folder does without

    try:
        splits = datasets.load_dataset(match["id"], "main", revision=match["revision"])
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{source}: no such folder here, and the hub did not give a data set of that name ({error}); "
            f"check the name and the network, or set data.source to a folder with {list(SPLITS.values())}"
        ) from error
    for split in SPLITS:
        if split not in splits:
            raise ValueError(f"{source}: found the splits {sorted(splits)}; expected {list(SPLITS)}")
        for number, row in enumerate(splits[split], start=1):
            where = f"{source} {split}:{number}"
            choices = row.get("choices")
            if not isinstance(choices, dict) or len(choices.get("text", ())) != len(choices.get("label", ())):
                raise bad(where, "choices", choices, "as many texts as labels")
            pairs = zip(choices["text"], choices["label"], strict=True)
            listed = [{"text": text_, "label": label} for text_, label in pairs]
            yield split, where, {**row, "stem": row.get("question_stem"), "choices": listed}


def _question(row: Mapping[str, Any], where: str) -> Question:
    """One checked question of a row with id, stem, choices and answerKey."""
    options: dict[str, str] = {}
    for number, choice in enumerate(row["choices"]):
        label = choice.get("label")
        if not isinstance(label, str) or not re.fullmatch("[A-Z]", label) or label in options:
            raise bad(where, f"choices[{number}].label", label, "one capital letter that no other choice has")
        options[label] = text(choice, "text", where, f"choices[{number}].text")
    if len(options) < 2:
        raise bad(where, "choices", row["choices"], "at least two choices")
    answer = row.get("answerKey")
    if not isinstance(answer, str) or answer not in options:
        raise bad(where, "answerKey", answer, f"one of the labels {list(options)}")
    return Question(text(row, "id", where), text(row, "stem", where), options, answer)


def _subset(items: Sequence[Item], split: str, size: int | None, seed: int) -> tuple[Item, ...]:
    """A seeded random subset in the original order; all items when `size` is `None`."""
    if size is None:
        return tuple(items)
    if size > len(items):
        raise ValueError(f"data.{split}_size is {size}; the split has {len(items)} usable questions")
    chosen = Random(f"{seed}-{split}").sample(range(len(items)), size)
    return tuple(items[i] for i in sorted(chosen))

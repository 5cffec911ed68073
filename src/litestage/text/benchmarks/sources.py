"""Where a benchmark's rows come from: a data set on the hub, or a folder with the original files.

for split, where, row in read("allenai/openbookqa@main", origin):
    ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any

from litestage.records import Question
from litestage.text.jsonl import bad, listed, rows

HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")

Row = tuple[str, str, dict[str, Any]]
"""Split, where the row stands (for messages), and the row."""


@dataclass(frozen=True)
class Origin:
    """Where a benchmark was published."""

    hub: str
    """Its data set on the hub, read when `data.source` is null."""
    config: str | None
    """Configuration of the data set."""
    splits: tuple[str, ...]
    """Splits of the data set that are read; none means all there are."""
    files: Mapping[str, str]
    """Split -> its file in a local folder: JSON lines, or one list where the name ends in `.json`."""
    page: str
    """Where the files are found."""


def read(source: str, origin: Origin) -> Iterator[Row]:
    """All rows of a local folder, or of a data set on the hub.

    Args:
        source: folder with the original files, or a hub id, with or without `@revision`.
        origin: what is looked for.

    Raises:
        FileNotFoundError: there is neither such a folder nor such a data set, or a file is missing.
        ValueError: a file is not JSON, or a split is missing.
    """
    folder = Path(source).expanduser()
    return _local(folder, origin) if folder.is_dir() else _hub(source, origin)


def unique(questions: Iterable[tuple[str, str, Question]]) -> dict[str, list[Question]]:
    """Split -> its questions. Raises `ValueError` when an id occurs twice, in whichever splits."""
    found: dict[str, list[Question]] = {}
    first: dict[str, str] = {}
    for split, where, question in questions:
        if question.id in first:
            raise bad(where, "id", question.id, f"an id that occurs once; {first[question.id]} has it too")
        first[question.id] = where
        found.setdefault(split, []).append(question)
    return found


def deal(
    questions: Sequence[Question], seed: str, key: Callable[[Question], str] = attrgetter("id")
) -> dict[str, list[Question]]:
    """Shuffle and cut into training (80 %), validation and test (10 % each, at least one question).

    Args:
        questions: three or more; their order does not matter.
        seed: decides the order.
        key: what the questions are sorted by before they are shuffled.
    """
    order = shuffled(questions, seed, key)
    held = max(1, round(len(order) / 10))
    return {"train": order[2 * held :], "validation": order[held : 2 * held], "test": order[:held]}


def shuffled(
    questions: Sequence[Question], seed: str, key: Callable[[Question], str] = attrgetter("id")
) -> list[Question]:
    """A seeded random order that does not depend on the order given."""
    return Random(seed).sample(sorted(questions, key=key), len(questions))


def _local(folder: Path, origin: Origin) -> Iterator[Row]:
    names = list(origin.files.values())
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder}: {missing} missing; expected {names}, as in {origin.page}")
    for split, name in origin.files.items():
        path = folder / name
        for where, row in listed(path) if path.suffix == ".json" else rows(path):
            yield split, where, row


def _hub(source: str, origin: Origin) -> Iterator[Row]:
    names = list(origin.files.values())
    match = HUB_ID.fullmatch(source)
    if match is None:
        raise FileNotFoundError(
            f"{source}: no such folder; expected a folder with {names}, or a hub id such as "
            f"'{origin.hub}' or '{origin.hub}@main'"
        )
    import datasets  # slow to import, and a local folder does without

    try:
        found = datasets.load_dataset(match["id"], origin.config, revision=match["revision"])
    except (FileNotFoundError, ConnectionError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{source}: no such folder here, and the hub did not give a data set of that name ({error}); "
            f"check the name and the network, or set data.source to a folder with {names}"
        ) from error
    for split in origin.splits or found:
        if split not in found:
            raise ValueError(f"{source}: found the splits {sorted(found)}; expected {list(origin.splits)}")
        for number, row in enumerate(found[split], start=1):
            yield split, f"{source} {split}:{number}", row

"""Rows of the published benchmarks in their forms, invented here; files and a hub that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

TEXTS = ["a nail", "a log", "a cup", "a key"]
Rows = list[dict[str, Any]]


@pytest.fixture
def local_row() -> Callable[..., dict[str, Any]]:
    """A row of the original files of OpenBookQA or CommonsenseQA."""

    def row(id_: str, answer: str = "B") -> dict[str, Any]:
        choices = [{"text": text, "label": label} for text, label in zip(TEXTS, "ABCD", strict=True)]
        return {"id": id_, "question": {"stem": f"Which one is {id_}?", "choices": choices}, "answerKey": answer}

    return row


@pytest.fixture
def hub_row() -> Callable[..., dict[str, Any]]:
    """The same row in the hub's columns; `stem` is OpenBookQA's or CommonsenseQA's name of the question's column."""

    def row(id_: str, stem: str = "question_stem") -> dict[str, Any]:
        choices = {"text": TEXTS, "label": list("ABCD")}
        return {"id": id_, stem: f"Which one is {id_}?", "choices": choices, "answerKey": "B"}

    return row


@pytest.fixture
def write() -> Callable[[Path, Rows], Path]:
    """Write rows as JSON lines, or as one list where the name ends in `.json`."""

    def write_(path: Path, rows: Rows) -> Path:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(json.dumps(rows) if path.suffix == ".json" else lines)
        return path

    return write_


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Rows]], list[tuple[Any, ...]]]:
    """Let `datasets.load_dataset` answer with these splits; returns the list of its calls."""

    def answer(splits: dict[str, Rows]) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def load_dataset(path: str, name: str | None = None, revision: str | None = None) -> DatasetDict:
            calls.append((path, name, revision))
            return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        return calls

    return answer

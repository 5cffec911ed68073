from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.text.benchmarks import csqa, split_hash

Row = Callable[..., dict[str, Any]]
TRAIN, DEV = [f"t{i}" for i in range(20)], ["d0", "d1", "d2"]


@pytest.fixture
def folder(tmp_path: Path, local_row: Row, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "train_rand_split.jsonl", [local_row(id_) for id_ in TRAIN])
    write(tmp_path / "dev_rand_split.jsonl", [local_row(id_) for id_ in DEV])
    monkeypatch.setattr(csqa, "VALIDATION", 5)
    return tmp_path


def test_validation_is_drawn_from_training_and_dev_is_the_test(folder: Path) -> None:
    found = {split: [q.id for q in questions] for split, questions in csqa.read(str(folder), seed=0).items()}
    assert found["test"] == DEV
    assert len(found["validation"]) == 5
    assert found["train"] == [id_ for id_ in TRAIN if id_ not in found["validation"]]
    assert len(found["train"]) == 15


def test_the_seed_decides_what_is_held_out(folder: Path) -> None:
    hashes = {seed: split_hash(csqa.read(str(folder), seed)["validation"]) for seed in (0, 1)}
    assert hashes[0] == "fd3d40d46013" != hashes[1]


def test_the_hub_gives_the_same_splits(folder: Path, hub_row: Row, hub: Any) -> None:
    calls = hub(
        {
            "train": [hub_row(id_, "question") for id_ in reversed(TRAIN)],
            "validation": [hub_row(id_, "question") for id_ in DEV],
            "test": [{**hub_row("x", "question"), "answerKey": ""}],  # without public answers: never read
        }
    )
    found, expected = csqa.read("tau/commonsense_qa@abc", seed=0), csqa.read(str(folder), seed=0)
    assert {q.id for q in found["train"]} == {q.id for q in expected["train"]}
    assert (found["validation"], found["test"]) == (expected["validation"], expected["test"])
    assert calls == [("tau/commonsense_qa", None, "abc")]
    assert csqa.ORIGIN.hub == "tau/commonsense_qa"


def test_the_real_benchmark_holds_out_as_many_as_dev_has() -> None:
    assert csqa.VALIDATION == 1221


def test_too_few_training_questions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csqa, "VALIDATION", 20)
    with pytest.raises(ValueError, match="found 20 training questions; validation alone takes 20"):
        csqa.read(str(folder), seed=0)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from litestage.text.benchmarks.obqa import ORIGIN, read

SIZES = {"train": 3, "validation": 2, "test": 2}


def test_the_official_splits_are_kept_from_folder_and_hub(
    tmp_path: Path, local_row: Callable[..., Any], hub_row: Callable[..., Any], write: Callable[..., Path], hub: Any
) -> None:
    ids = {split: [f"{split}-{i}" for i in range(size)] for split, size in SIZES.items()}
    for split, name in (("train", "train.jsonl"), ("validation", "dev.jsonl"), ("test", "test.jsonl")):
        write(tmp_path / name, [local_row(id_) for id_ in ids[split]])
    found = read(str(tmp_path), seed=0)
    assert {split: [q.id for q in questions] for split, questions in found.items()} == ids
    assert read(str(tmp_path), seed=1) == found
    calls = hub({split: [hub_row(id_) for id_ in made] for split, made in ids.items()})
    assert read(ORIGIN.hub, seed=0) == found
    assert calls == [("allenai/openbookqa", "main", None)]

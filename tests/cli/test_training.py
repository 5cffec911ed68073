"""`train.py`: what it leaves for the other scripts, and going on from a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litestage import cli
from litestage.cli import training
from litestage.model.importance import Importance
from litestage.report.schema import read
from litestage.settings import parse

DEFAULT = Path(__file__).resolve().parents[2] / "configs" / "miniworld.yaml"


def test_the_resolved_configuration_loads_back(done: SimpleNamespace) -> None:
    again = parse(["--config", str(done.folder / "config.yaml")], DEFAULT)
    assert again.folder == done.folder
    written = parse(["--config", str(done.config), "--root", str(done.folder.parent)], DEFAULT)
    assert again.experiment == written.experiment


def test_importance_is_of_the_questions_asked_for(done: SimpleNamespace) -> None:
    importance = Importance.from_json(read(done.folder / "importance.json", "importance"))
    assert (importance.model, importance.questions, len(importance.order)) == ("tiny (mini)", 3, 4)


def test_training_goes_on_from_the_last_checkpoint(copied: Path, again: Callable[..., dict[str, Any]]) -> None:
    """Both epochs are done: nothing is trained again, and the best weights are exported again."""
    model = copied / "model" / "model.safetensors"
    before = model.read_bytes()
    shutil.rmtree(copied / "model")
    again(cli.train, "--ckpt_path=last")
    assert model.read_bytes() == before


def test_the_journal_stays_while_the_weights_stay(copied: Path, again: Callable[..., dict[str, Any]]) -> None:
    before = (copied / "search.jsonl").read_bytes()
    again(cli.train, "--ckpt_path=last")
    assert (copied / "search.jsonl").read_bytes() == before
    assert not (copied / "search.jsonl.old").exists()


def test_a_journal_of_earlier_weights_is_moved_aside(copied: Path, again: Callable[..., dict[str, Any]]) -> None:
    before = (copied / "search.jsonl").read_bytes()
    again(cli.train, "--seed=2", "--trainer.max_epochs=1")
    assert not (copied / "search.jsonl").exists()
    assert (copied / "search.jsonl.old").read_bytes() == before


def test_an_unwritable_folder_is_found_before_training(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was made")

    monkeypatch.setattr(training, "new_model", never)
    (tmp_path / "mini").write_text("a file in place of the folder")
    message = fails(cli.train)
    assert "cannot write there" in message
    assert "--root" in message

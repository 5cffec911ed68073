"""A run's folder, its models and its trainers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from litestage.config import Experiment, LoraSettings, ModelSettings, TinySettings
from litestage.records import Question, Rationale
from litestage.runs import make_trainer, model_name, needed, new_model, trained_engine, writable
from litestage.settings import Given
from litestage.text.benchmarks import Splits

TRAINER = {"accelerator": "cpu", "precision": None, "callbacks": None, "max_epochs": 1, "enable_progress_bar": False}


@pytest.fixture
def given(tmp_path: Path, tiny: TinySettings) -> Callable[..., Given]:
    def made(**trainer: Any) -> Given:
        experiment = Experiment(run="tests", root=str(tmp_path), model=ModelSettings(tiny=tiny))
        return Given(experiment, {**TRAINER, **trainer}, None, "")

    return made


@pytest.fixture
def splits(questions: list[Question], rationales: list[Rationale]) -> Splits:
    return Splits(tuple(zip(questions, rationales, strict=True)), tuple(questions), tuple(questions))


@pytest.mark.parametrize(
    ("base", "name"),
    [("tiny", "tiny (mine)"), ("org/repo", "org/repo (mine)"), ("org/repo@v1", "org/repo@v1 (mine)")],
)
def test_model_names_hold_base_and_run(base: str, name: str) -> None:
    assert model_name(Experiment(run="mine", model=ModelSettings(base=base))) == name


def test_a_folder_is_called_by_its_last_part(tmp_path: Path) -> None:
    (tmp_path / "SmolLM2").mkdir()
    assert model_name(Experiment(run="mine", model=ModelSettings(base=str(tmp_path / "SmolLM2")))) == "SmolLM2 (mine)"


def test_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    assert writable(folder) == folder
    assert list(folder.iterdir()) == []
    assert writable(folder) == folder


@pytest.mark.parametrize("path", ["taken", "taken/mine"])
def test_an_unwritable_folder_is_named_with_a_way_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PermissionError, match=rf"{path}: cannot write there .*--root or --run"):
        writable(tmp_path / path)


def test_needed_says_which_script_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"importance\.json is not there; run `python train\.py`"):
        needed(tmp_path / "importance.json", "train.py")
    assert needed(tmp_path, "train.py") == tmp_path


def test_a_tiny_model_is_made_from_the_seed(given: Callable[..., Given], splits: Splits) -> None:
    experiment = given().experiment
    first, tokenizer = new_model(experiment, splits)
    again, _ = new_model(experiment, splits)
    other, _ = new_model(replace(experiment, seed=1), splits)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert first.config.num_hidden_layers == experiment.model.tiny.blocks
    assert tokenizer.decode(tokenizer("Wood floats.")["input_ids"]) == "Wood floats."


def test_adapters_on_a_model_from_scratch_are_refused(given: Callable[..., Given], splits: Splits) -> None:
    experiment = given().experiment
    experiment.model.lora = LoraSettings()
    with pytest.raises(ValueError, match=r"model\.lora: adapters need a pretrained model\.base, not 'tiny'"):
        new_model(experiment, splits)


def test_a_base_with_adapters(given: Callable[..., Given], splits: Splits, tmp_path: Path) -> None:
    base, tokenizer = new_model(given().experiment, splits)
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = ModelSettings(base=str(tmp_path / "base"), lora=LoraSettings(rank=2))
    model, _ = new_model(replace(given().experiment, model=settings), splits)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)


def test_the_trained_engine_is_what_training_left(given: Callable[..., Given], splits: Splits) -> None:
    found = given()
    with pytest.raises(FileNotFoundError, match=r"no trained model here; run train\.py"):
        trained_engine(found)
    model, tokenizer = new_model(found.experiment, splits)
    model.save_pretrained(found.folder / "model")
    tokenizer.save_pretrained(found.folder / "model")
    found.experiment.model.dtype = "bfloat16"
    engine = trained_engine(found)
    assert (engine.name, engine.decoder.num_sublayers) == ("tiny (tests)", 4)
    assert (engine.decoder.dtype, engine.decoder.device) == (torch.bfloat16, torch.device("cpu"))
    assert engine.reasoning is found.experiment.reasoning


def test_the_users_callbacks_come_first(given: Callable[..., Given], tmp_path: Path) -> None:
    mine, ours = EarlyStopping("val/accuracy"), EarlyStopping("train/loss")
    for own in (mine, [mine]):
        made = make_trainer(given(callbacks=own), [], [ours])
        assert [c for c in made.callbacks if isinstance(c, EarlyStopping)] == [mine, ours]
    assert made.default_root_dir == str(tmp_path / "tests")
    assert made.loggers == []


def test_checkpoints_are_written_only_where_asked_for(given: Callable[..., Given], tmp_path: Path) -> None:
    assert make_trainer(given(), [], []).checkpoint_callbacks == []
    best = ModelCheckpoint(tmp_path)
    assert make_trainer(given(), [], [best]).checkpoint_callbacks == [best]


def test_the_precision_of_training_is_not_that_of_answers(given: Callable[..., Given], tmp_path: Path) -> None:
    """Under autocast evaluation would run something else than what was searched."""
    mixed = given(precision="bf16-mixed")
    assert make_trainer(mixed, [], [ModelCheckpoint(tmp_path)]).precision == "bf16-mixed"
    assert make_trainer(mixed, [], []).precision == "32-true"

"""What stays after training: the best weights, their importance, and samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from litestage.config import LoraSettings
from litestage.engine import Engine
from litestage.lit import callbacks
from litestage.lit.callbacks import (
    SAMPLE_COLUMNS,
    BestWeights,
    ExportModel,
    SampleTable,
    SubLayerImportance,
    sample_rows,
)
from litestage.lit.datamodule import QuestionData
from litestage.lit.tune import FineTune
from litestage.model.load import attach_lora, load_trained
from litestage.model.sublayers import Decoder
from litestage.records import Attempt, Question, StageOutput
from litestage.report.schema import read
from litestage.search.ranking import measure_importance

MakeTrainer = Callable[..., L.Trainer]
Table = tuple[str, Sequence[str], Sequence[Sequence[Any]]]


class GetsWorse(FineTune):
    """Its validation accuracy is 1, 1/2, 1/3, ...: the first epoch is the best."""

    def validation_step(self, batch: list[Question], batch_idx: int) -> None:
        self.log("val/accuracy", 1 / (1 + self.current_epoch), on_epoch=True, batch_size=len(batch))


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Table]:
    """The tables that would go to W&B."""
    seen: list[Table] = []
    monkeypatch.setattr(callbacks, "log_table", lambda _, name, columns, rows: seen.append((name, columns, rows)))
    return seen


@pytest.fixture
def fit_with(module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path) -> Callable[..., None]:
    """One epoch with a callback."""

    def fit(callback: L.Callback, **arguments: Any) -> None:
        trainer(tmp_path, callbacks=[callback], enable_checkpointing=False, **arguments).fit(module, data)

    return fit


def checkpoints(folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    best = BestWeights(folder, "best", monitor="val/accuracy", mode="max", save_weights_only=True)
    return best, ModelCheckpoint(folder, "last")


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("model."): weight for name, weight in state.items()}


def worse(module: FineTune, data: QuestionData) -> GetsWorse:
    return GetsWorse(data_experiment(module), module.model, data.tokenizer, module.engine.name)


def data_experiment(module: FineTune) -> Any:
    """What a FineTune reads of an experiment."""

    class Groups:
        seed, model, reasoning = module.seed, module.settings, module.engine.reasoning

    return Groups


def test_the_best_weights_are_exported_not_the_last(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    best, last = checkpoints(tmp_path)
    other = ModelCheckpoint(tmp_path, "another", every_n_epochs=2)  # a user's own, which comes first
    made = trainer(tmp_path, epochs=3, callbacks=[other, best, last, ExportModel(tmp_path, best)])
    made.fit(worse(module, data), data)
    exported = load_file(tmp_path / "model" / "model.safetensors")
    wanted, final = weights(tmp_path / "best.ckpt"), weights(tmp_path / "last.ckpt")
    assert set(exported) <= set(wanted)
    assert set(wanted) - set(exported) == {"lm_head.weight"}  # tied: kept once
    for name, weight in exported.items():
        assert torch.equal(weight, wanted[name])
    assert any(not torch.equal(weight, final[name]) for name, weight in exported.items())


class Levels(FineTune):
    """Its best accuracy comes in the second and in the third of four epochs."""

    def validation_step(self, batch: list[Question], batch_idx: int) -> None:
        self.log("val/accuracy", (0.5, 0.75, 0.75, 0.25)[self.current_epoch], on_epoch=True, batch_size=len(batch))


def test_of_equally_good_weights_the_later_are_kept(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    best, _ = checkpoints(tmp_path)
    made = Levels(data_experiment(module), module.model, data.tokenizer, module.engine.name)
    trainer(tmp_path, epochs=4, callbacks=[best]).fit(made, data)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2
    assert [path.name for path in tmp_path.glob("best*")] == ["best.ckpt"]


def test_the_export_loads_back_with_its_tokenizer(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    best, last = checkpoints(tmp_path)
    trainer(tmp_path, callbacks=[best, last, ExportModel(tmp_path, best)]).fit(worse(module, data), data)
    model, tokenizer = load_trained(tmp_path, "tiny", "float32")
    text = "Which of these floats?"
    assert tokenizer(text)["input_ids"] == data.tokenizer(text)["input_ids"]
    assert tokenizer.eos_token_id == data.tokenizer.eos_token_id
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, module.model.eval()(ids).logits)


def test_without_validation_the_last_weights_are_exported(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    best, last = checkpoints(tmp_path)
    made = trainer(tmp_path, callbacks=[best, last, ExportModel(tmp_path, best)], limit_val_batches=0)
    made.fit(module, data)
    exported = load_file(tmp_path / "model" / "model.safetensors")
    final = weights(tmp_path / "last.ckpt")
    assert all(torch.equal(weight, final[name]) for name, weight in exported.items())


def test_adapters_are_exported_alone(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    module.model.save_pretrained(tmp_path / "base")
    data.tokenizer.save_pretrained(tmp_path / "base")
    tuned = FineTune(
        data_experiment(module), attach_lora(module.model, LoraSettings(rank=2)), data.tokenizer, module.engine.name
    )
    best, last = checkpoints(tmp_path)
    made = trainer(tmp_path, callbacks=[best, last, ExportModel(tmp_path, best)])
    made.fit(tuned, data)
    assert not (tmp_path / "model").exists()
    assert all("lora" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    merged, _ = load_trained(tmp_path, str(tmp_path / "base"), "float32")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, tuned.model.eval()(ids).logits, rtol=1e-4, atol=1e-4)


def test_importance_is_that_of_the_exported_model(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path, tables: list[Table]
) -> None:
    best, last = checkpoints(tmp_path)
    asked = list(data.splits.validation[:3])
    after = [ExportModel(tmp_path, best), SubLayerImportance(tmp_path, asked)]
    trainer(tmp_path, epochs=2, callbacks=[best, last, *after]).fit(worse(module, data), data)
    document = read(tmp_path / "importance.json", "importance")
    model, tokenizer = load_trained(tmp_path, "tiny", "float32")
    engine = Engine(Decoder(model.eval()), tokenizer, module.engine.reasoning, module.engine.name)
    wanted = measure_importance(engine, asked)
    assert document["model"] == module.engine.name
    assert document["order"] == wanted.order
    assert document["similarity"] == pytest.approx(wanted.similarity, abs=1e-6)
    assert {stage["questions"] for stage in document["stages"].values()} == {3}
    ((name, columns, rows),) = tables
    assert (name, columns) == ("importance", ["sub-layer", "kind", "recall", "analyze", "summarize"])
    assert [row[:2] for row in rows] == [[0, "attention"], [1, "feed-forward"], [2, "attention"], [3, "feed-forward"]]


def test_sample_rows_have_one_row_a_stage_output() -> None:
    question = Question("q", "What floats?", {"A": "a log", "B": "a nail"}, "A")
    outputs = (
        StageOutput("recall", "", "p", "Wood floats.", 4, "eos"),
        StageOutput("analyze", "B", "p", "No", 9, "cap"),
    )
    rows = sample_rows([(question, Attempt("q", 0, outputs, None))])
    shared = ["What floats?", "(A) a log (B) a nail"]
    assert rows == [
        [*shared, "recall", "", "Wood floats.", "eos", "none", "A"],
        [*shared, "analyze", "B", "No", "cap", "none", "A"],
    ]
    assert {len(row) for row in rows} == {len(SAMPLE_COLUMNS)}


@pytest.mark.parametrize(("count", "sanity", "shown"), [(2, 0, 1), (0, 0, 0), (2, 1, 1)])
def test_samples_are_shown_after_each_real_validation(
    fit_with: Callable[..., None], tables: list[Table], count: int, sanity: int, shown: int
) -> None:
    fit_with(SampleTable(count), num_sanity_val_steps=sanity)
    assert [name for name, *_ in tables] == ["val/samples"] * shown
    for _, columns, rows in tables:
        assert columns == ["step", *SAMPLE_COLUMNS]
        assert {row[0] for row in rows} == {2}  # two batches of training
        assert len({row[1] for row in rows}) == count
    json.dumps([rows for *_, rows in tables])


def test_other_modules_are_refused(trainer: MakeTrainer, tmp_path: Path) -> None:
    best, _ = checkpoints(tmp_path)
    with pytest.raises(TypeError, match="needs a FineTune module, got LightningModule"):
        ExportModel(tmp_path, best).on_fit_end(trainer(tmp_path), L.LightningModule())

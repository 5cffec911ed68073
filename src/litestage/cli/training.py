"""`train.py`: fine-tune, keep the best weights, rank the sub-layers."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from litestage.cli.common import command
from litestage.lit import tracking
from litestage.lit.callbacks import BestWeights, ExportModel, SampleTable, SubLayerImportance
from litestage.lit.curriculum import Listen
from litestage.lit.datamodule import QuestionData
from litestage.lit.tune import FineTune
from litestage.runs import make_trainer, model_name, new_model, weights_hash, writable
from litestage.settings import Given
from litestage.text.benchmarks import load


@command
def train(given: Given) -> dict[str, Any]:
    """Fine-tune, keep the best weights, rank the sub-layers."""
    experiment, folder = given.experiment, writable(given.folder)
    L.seed_everything(experiment.seed, verbose=False)
    splits = load(experiment.data, experiment.seed)
    model, tokenizer = new_model(experiment, splits)
    module = FineTune(experiment, model, tokenizer, model_name(experiment))
    (folder / "config.yaml").write_text(given.resolved)
    asked = list(splits.validation[: experiment.search.importance_questions])
    keep: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = BestWeights(**keep, filename="best", monitor="val/accuracy", mode="max", save_weights_only=True)
    last = ModelCheckpoint(**keep, filename="last")
    with tracking.tracked(experiment, "train") as logger:
        extra = [
            best,
            last,
            ExportModel(folder, best),
            SubLayerImportance(folder, asked),
            SampleTable(experiment.tracking.samples),
            Listen(),
        ]
        extra += [LearningRateMonitor()] if logger else []
        table = CSVLogger(folder, name="metrics")
        trainer = make_trainer(given, [table, logger] if logger else [table], extra)
        before = weights_hash(folder)
        resume = str(folder / "last.ckpt") if given.ckpt_path == "last" else given.ckpt_path
        trainer.fit(module, QuestionData(experiment, splits, tokenizer), ckpt_path=resume)
        journal = folder / "search.jsonl"
        stale = journal.exists() and weights_hash(folder) != before  # it is about weights that are gone
        if stale and trainer.is_global_zero:
            journal.replace(journal.with_suffix(".jsonl.old"))
        return {
            "step": "train",
            "folder": str(folder),
            "validation_accuracy": round(float(best.best_model_score), 4)
            if best.best_model_score is not None
            else None,
            "train": len(splits.train),
            "validation": len(splits.validation),
        }

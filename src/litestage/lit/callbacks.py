"""What happens around training: the best weights are exported, then the sub-layers are ranked; samples are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from rich.progress import Progress

from litestage.lit.tracking import log_table
from litestage.lit.tune import FineTune
from litestage.records import Attempt, Question
from litestage.search.ranking import measure_importance


class BestWeights(ModelCheckpoint):
    """Keeps the best weights; of equally good ones the later, which have learned for longer."""

    def check_monitor_top_k(self, trainer: L.Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether to keep the current weights."""
        known = self.best_model_score
        return (known is not None and current is not None and bool(current == known)) or super().check_monitor_top_k(
            trainer, current
        )


class ExportModel(Callback):
    """After training: take the weights of the best checkpoint and save them in Hugging Face layout.

    Writes `adapter/` for a model with adapters, else `model/` (safetensors, tokenizer beside). Without a best
    checkpoint (no validation ran) the last weights are taken.
    """

    def __init__(self, folder: Path, best: ModelCheckpoint) -> None:
        self.folder, self.best = folder, best

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export; on the first process only."""
        module = _fine_tune(pl_module)
        if self.best.best_model_path:
            best = torch.load(self.best.best_model_path, map_location="cpu", weights_only=True)
            module.load_state_dict(best["state_dict"], strict=False)
        if trainer.is_global_zero:
            kinds = ["adapter", "model"]
            target = self.folder / kinds.pop(0 if hasattr(module.model, "peft_config") else 1)
            shutil.rmtree(self.folder / kinds[0], ignore_errors=True)  # an earlier training of another kind
            module.model.save_pretrained(target)  # type: ignore[operator]
            module.engine.tokenizer.save_pretrained(target)


class SubLayerImportance(Callback):
    """After training: rank the sub-layers on validation questions and save `importance.json`."""

    def __init__(self, folder: Path, questions: list[Question]) -> None:
        self.folder, self.questions = folder, questions

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure, all processes together; the first one saves."""
        module = _fine_tune(pl_module)
        module.eval()
        with Progress(transient=True, disable=not trainer.is_global_zero) as bar:
            task = bar.add_task("importance", total=len(self.questions))
            importance = measure_importance(module.engine, self.questions, lambda n: bar.advance(task, n))
        if not trainer.is_global_zero:
            return
        (self.folder / "importance.json").write_text(json.dumps(importance.to_json(), indent=1) + "\n")
        kinds = ("attention", "feed-forward")
        rows = [[j, kinds[j % 2], *s] for j, s in enumerate(zip(*importance.stages.values(), strict=True))]
        columns = ["sub-layer", "kind", *importance.stages]
        log_table(_wandb(trainer), "importance", columns, rows)


class SampleTable(Callback):
    """After each validation: a few questions with what every stage wrote, as a W&B table."""

    def __init__(self, count: int) -> None:
        self.count = count

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the table."""
        if trainer.sanity_checking or not self.count:
            return
        module = _fine_tune(pl_module)
        columns = ["step", *SAMPLE_COLUMNS]
        rows = [[trainer.global_step, *row] for row in sample_rows(module.samples[: self.count])]
        log_table(_wandb(trainer), "val/samples", columns, rows)


SAMPLE_COLUMNS = ["question", "options", "stage", "option", "text", "stopped by", "answer", "gold"]


def sample_rows(samples: list[tuple[Question, Attempt]]) -> list[list[str]]:
    """One row a stage output."""
    return [
        [
            question.text,
            " ".join(f"({k}) {v}" for k, v in question.options.items()),
            output.stage,
            output.label,
            output.text,
            output.stop,
            attempt.answer or "none",
            question.answer or "unknown",
        ]
        for question, attempt in samples
        for output in attempt.outputs
    ]


def _fine_tune(module: L.LightningModule) -> FineTune:
    if not isinstance(module, FineTune):
        raise TypeError(f"this callback needs a FineTune module, got {type(module).__name__}")
    return module


def _wandb(trainer: L.Trainer) -> WandbLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)

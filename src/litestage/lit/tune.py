"""Fine-tuning on the stages' outputs; validation is the real thing: greedy answers through the pipeline.

module = FineTune(experiment, model, tokenizer, name)
trainer.fit(module, QuestionData(experiment, splits, tokenizer))
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import cos, pi
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric

from litestage.config import Experiment
from litestage.engine import Engine
from litestage.lit.curriculum import Curriculum
from litestage.lit.dropout import SubLayerDropout
from litestage.model.sublayers import Decoder, base_model
from litestage.pipeline import run
from litestage.records import Attempt, Question
from litestage.seeding import generator_of


class FineTune(L.LightningModule):
    """Loss per stage, weighted per stage; validation by staged accuracy.

    Every stage's loss is the mean over its own tokens, so the single letter of the summary does not drown in the
    analyses.

    Args:
        experiment: groups `model` and `reasoning`.
        model: a supported causal language model, with or without adapters.
        tokenizer: its tokenizer.
        name: what plans call the model.
    """

    def __init__(self, experiment: Experiment, model: torch.nn.Module, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.settings, self.seed = experiment.model, experiment.seed
        self.model = model.train()
        self.engine = Engine(Decoder(model), tokenizer, experiment.reasoning, name)
        dropout = experiment.model.dropout
        self.dropout = SubLayerDropout(model, dropout) if dropout else None
        self.steps = 0
        """Training steps in all but for warm-up exercises; known once the optimizer is made."""
        self.strict_loading = False  # frozen weights are not in checkpoints
        self.right = MeanMetric()
        self.parsed = MeanMetric()
        self.length: Any = torch.nn.ModuleDict({stage: MeanMetric() for stage in self.engine.stage_names})
        self.samples: list[tuple[Question, Attempt]] = []
        """Questions and attempts of the last validation."""

    def stage_losses(self, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean loss and token accuracy of each stage that has tokens in the batch (see `batches.collate`)."""
        base = base_model(self.model)
        inputs = {key: batch[key] for key in ("input_ids", "position_ids", "attention_mask")}
        hidden = base.model(**inputs, use_cache=False).last_hidden_state
        logits = base.lm_head(hidden[batch["rows"], batch["columns"]]).float()
        losses = cross_entropy(logits, batch["labels"], reduction="none")
        hits = (logits.argmax(-1) == batch["labels"]).float()
        names = ["exercise", *self.engine.stage_names]  # index -1 is an exercise
        stages = batch["stages"]
        return {
            names[index + 1]: (losses[stages == index].mean(), hits[stages == index].mean())
            for index in stages.unique().tolist()
        }

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Mean over the stages of weight x loss; the weights are taken relative to their mean."""
        with self._left_out(batch, batch_idx):
            stages = self.stage_losses(batch)
        weights = {stage.name: stage.loss_weight for stage in self.engine.reasoning.stages}
        mean = sum(weights.values()) / len(weights)
        loss = torch.stack([value * weights.get(name, mean) / mean for name, (value, _) in stages.items()]).mean()
        size = len(batch["input_ids"])
        for name, (value, accuracy) in stages.items():
            self.log(f"train/loss_{name}", value, batch_size=size)
            self.log(f"train/token_accuracy_{name}", accuracy, batch_size=size)
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        return loss

    def _left_out(self, batch: dict[str, Tensor], batch_idx: int) -> AbstractContextManager[None]:
        """Leave sub-layers out, as the settings say; what is left out depends on seed, batch and process alone."""
        if self.dropout is None:
            return nullcontext()
        step = self.global_step
        rate = self.dropout.rate(step, self.steps)
        self.log("train/dropout", rate, batch_size=len(batch["input_ids"]))
        key = (self.seed, "dropout", step, batch_idx, self.global_rank)
        return self.dropout.drawn(batch["decoded"], rate, generator_of(*key))

    def _steps(self) -> tuple[int, Curriculum | None]:
        """Steps of the whole training but for warm-up exercises, and who counts those."""
        estimate = self.trainer.estimated_stepping_batches  # also makes the first dataloader
        curriculum: Curriculum | None = getattr(getattr(self.trainer, "datamodule", None), "curriculum", None)
        if curriculum is None:
            return int(estimate), None
        return len(curriculum.batches) * max(1, self.trainer.max_epochs or 1), curriculum

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation's samples."""
        self.samples = []

    def validation_step(self, batch: list[Question], batch_idx: int) -> None:
        """Answer a batch of questions greedily, all stages."""
        with torch.autocast(self.device.type, enabled=False):  # answers run in the weights' dtype, as they will later
            result = run(self.engine, batch, self.engine.full_depth())
        for question, attempt in zip(batch, result.attempts, strict=True):
            self.right.update(float(attempt.answer == question.answer))
            self.parsed.update(float(attempt.answer is not None))
            for stage in self.engine.stage_names:
                self.length[stage].update(float(sum(o.tokens for o in attempt.outputs if o.stage == stage)))
            self.samples.append((question, attempt))
        self.log("val/accuracy", self.right, prog_bar=True, on_epoch=True, batch_size=len(batch))
        self.log("val/parsed", self.parsed, on_epoch=True, batch_size=len(batch))
        for stage, metric in self.length.items():
            self.log(f"val/tokens_{stage}", metric, on_epoch=True, batch_size=len(batch))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with linear warm-up and cosine decay, which begins once the warm-up exercises (if any) have ended."""
        trained = [p for p in self.parameters() if p.requires_grad]
        settings = self.settings
        optimizer = torch.optim.AdamW(
            trained, settings.learning_rate, (0.9, settings.beta2), weight_decay=settings.weight_decay
        )
        steps, curriculum = self._steps()
        self.steps = steps
        warmup = max(1, int(settings.warmup * steps))

        def factor(step: int) -> float:
            rise = min(1.0, step / warmup)
            if curriculum is not None and curriculum.ended is None:
                return rise
            begun = max(warmup, curriculum.ended or 0) if curriculum is not None else warmup
            last = steps + (curriculum.ended or 0 if curriculum is not None else 0)
            decay = min(1.0, max(0.0, (step - begun) / max(1, last - begun)))
            return min(rise, 0.5 * (1 + cos(pi * decay)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out: they are those of the base model. Tied weights have several names."""
        named = self.model.named_parameters(remove_duplicate=False)
        for key in {f"model.{name}" for name, p in named if not p.requires_grad}:
            checkpoint["state_dict"].pop(key, None)

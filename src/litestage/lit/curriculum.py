"""Warm-up exercises first, for as long as they are needed, then the questions.

Without it a small model from scratch ends at chance, fluent (see `miniworld.exercises`). When the lookup clicks differs
from run to run by some hundred steps, so the lessons end by what was learned and not by the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import IterableDataset

from litestage import sharing
from litestage.text.stages import Example

Row = list[Example]
LEARNED = (0.1, 0.05)
"""A lesson ends when its smoothed loss falls below this, lesson by lesson."""
MEMORY = 0.95
"""Share of the smoothed loss that stays from step to step."""


class Curriculum(IterableDataset):
    """Batches whose number depends on how well the lessons go.

    Args:
        lessons: endless exercises, one iterator for each entry of `LEARNED`.
        steps: exercises end after this many batches at the latest.
        batches: the stream behind them, gone through once.
        size: rows of a batch of exercises.
    """

    def __init__(self, lessons: Sequence[Iterator[Row]], steps: int, batches: Sequence[list[Row]], size: int) -> None:
        self.lessons, self.steps, self.batches, self.size = lessons, steps, batches, size
        self.lesson, self.smoothed = 0, 10.0
        self.ended: int | None = None
        """The step that began the questions; `None` while the lessons go on."""

    def __iter__(self) -> Iterator[list[Row]]:
        step = 0
        while self.lesson < len(self.lessons) and step < self.steps:
            yield [next(self.lessons[self.lesson]) for _ in range(self.size)]
            step += 1
        self.ended = step
        yield from self.batches

    def hear(self, loss: float) -> None:
        """Take the loss of a batch of exercises; go on to the next lesson when this one is learned."""
        self.smoothed = MEMORY * self.smoothed + (1 - MEMORY) * loss
        if self.lesson < len(self.lessons) and self.smoothed < LEARNED[self.lesson]:
            self.lesson, self.smoothed = self.lesson + 1, 10.0


class Listen(Callback):
    """Tells the curriculum of the running epoch how the exercises go."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        """Pass the loss on when the batch held exercises only."""
        curriculum = trainer.datamodule.curriculum
        if curriculum is not None and bool((batch["stages"] < 0).all()):
            heard = sharing.gather(float(outputs["loss"]))  # all processes go on together
            curriculum.hear(sum(heard) / len(heard))

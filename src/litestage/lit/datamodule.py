"""Questions as Lightning dataloaders: fine-tuning streams, and batches of questions to answer.

data = QuestionData(experiment, splits, tokenizer)
trainer.fit(module, data)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from litestage import sharing
from litestage.config import Experiment
from litestage.lit.batches import collate, tokenize
from litestage.lit.curriculum import Curriculum, Row
from litestage.records import Question
from litestage.seeding import generator_of, seed_of
from litestage.text import miniworld
from litestage.text.benchmarks import Splits
from litestage.text.stages import examples

QUESTIONS = 32
"""Questions that validation and evaluation hand on together when `reasoning.batch_size` is null."""


class QuestionData(L.LightningDataModule):
    """Training batches of token tensors; validation and test batches of `Question`s.

    Args:
        experiment: groups `data` and `reasoning`, and the seed.
        splits: the benchmark's questions.
        tokenizer: a fast tokenizer (offsets are needed).
    """

    def __init__(self, experiment: Experiment, splits: Splits, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.settings, self.seed = experiment.data, experiment.seed
        self.stages = experiment.reasoning.stages
        self.questions_a_batch = experiment.reasoning.batch_size or QUESTIONS
        self.splits, self.tokenizer = splits, tokenizer
        self.curriculum: Curriculum | None = None
        """What the first epoch reads when there are warm-up exercises."""

    def train_dataloader(self) -> DataLoader:
        """The stream of this epoch; a function of seed and epoch alone."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        batches: Sequence[list[Row]] = self.train_batches(epoch)
        every = sharing.processes()
        batches = sharing.share(batches[: len(batches) // every * every])  # all make the same number of steps
        self.curriculum = self._warm_up(batches) if epoch == 0 and self.settings.curriculum_steps else None
        source: Any = batches if self.curriculum is None else self.curriculum
        return DataLoader(source, batch_size=None, collate_fn=self._tensors)

    def val_dataloader(self) -> DataLoader:
        """Validation questions."""
        return self._questions(self.splits.validation)

    def test_dataloader(self) -> DataLoader:
        """Test questions."""
        return self._questions(self.splits.test)

    def train_batches(self, epoch: int) -> list[list[Row]]:
        """Rows of examples, batch by batch, in the chosen stream."""
        size = self.settings.batch_size
        order = torch.randperm(len(self.splits.train), generator=generator_of(self.seed, "order", epoch)).tolist()
        pairs = [self.splits.train[i] for i in order]
        groups = [list(examples(question, rationale, self.stages)) for question, rationale in pairs]
        if self.settings.stream == "packed":
            return _chunks(groups, size)
        if self.settings.stream == "interleaved":
            return self._interleaved(groups)
        singles = [[example] for group in groups for example in group]
        order = torch.randperm(len(singles), generator=generator_of(self.seed, "singles", epoch)).tolist()
        return _chunks([singles[i] for i in order], size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Questions are no tensors: they stay where they are."""
        return super().transfer_batch_to_device(batch, device, dataloader_idx) if isinstance(batch, dict) else batch

    def _warm_up(self, batches: Sequence[list[Row]]) -> Curriculum:
        seed = seed_of(self.seed, "exercises", sharing.rank()) if sharing.rank() else seed_of(self.seed, "exercises")
        lessons = [miniworld.exercises(self.splits.train, self.stages, seed, bare) for bare in (True, False)]
        return Curriculum(lessons, self.settings.curriculum_steps, batches, self.settings.batch_size)

    def _interleaved(self, groups: Sequence[Row]) -> list[list[Row]]:
        """TinyThinker's cycle: I batches of one stage, then of the next, until every stage is used up."""
        size, steps = self.settings.batch_size, self.settings.interleave_steps
        streams, turns = [], []
        for stage in self.stages:
            rows = [[example] for group in groups for example in group if example.stage == stage.name]
            streams.append(iter(_chunks(rows, size)))
            turns.append(steps * max(1, round(len(rows) / len(groups))))
        out: list[list[Row]] = []
        while True:
            before = len(out)
            for stream, turn in zip(streams, turns, strict=True):
                out += islice(stream, turn)
            if len(out) == before:
                return out

    def _tensors(self, batch: list[Row]) -> dict[str, torch.Tensor]:
        names = [stage.name for stage in self.stages]
        tokens = iter(tokenize(self.tokenizer, [example for row in batch for example in row], names))
        return collate([list(islice(tokens, len(row))) for row in batch], int(self.tokenizer.pad_token_id))

    def _questions(self, questions: Sequence[Question]) -> DataLoader:
        mine: Any = sharing.share(questions)  # without padding: no question counts twice
        return DataLoader(mine, batch_size=self.questions_a_batch, collate_fn=list)


def _chunks(rows: Sequence[Row], size: int) -> list[list[Row]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]

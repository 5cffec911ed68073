"""Streams: every example once an epoch, in the order promised, the same for the same seed and epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litestage.config import Experiment
from litestage.lit.batches import collate, tokenize
from litestage.lit.datamodule import QuestionData
from litestage.records import Question
from litestage.text import miniworld
from litestage.text.benchmarks import Splits
from litestage.text.stages import Example, examples

STREAMS = ["packed", "mixed", "interleaved"]
Change = Callable[..., Experiment]


@pytest.fixture
def world() -> Splits:
    """Six miniworld questions with four options each."""
    made = miniworld.build(0, train=6, validation=3, test=2)
    return Splits(tuple(made["train"]), tuple(q for q, _ in made["validation"]), tuple(q for q, _ in made["test"]))


def flat(batches: list[list[list[Example]]]) -> list[Example]:
    return list(chain.from_iterable(chain.from_iterable(batches)))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("epoch", [0, 3])
def test_every_example_comes_exactly_once(
    experiment: Experiment, splits: Splits, tokenizer: Any, change: Change, stream: str, epoch: int
) -> None:
    data = QuestionData(change(experiment, "data", stream=stream, batch_size=3), splits, tokenizer)
    wanted = Counter(e for pair in splits.train for e in examples(*pair, experiment.reasoning.stages))
    assert max(wanted.values()) == 1
    batches = data.train_batches(epoch)
    assert Counter(flat(batches)) == wanted
    assert max(len(batch) for batch in batches) == 3


def test_packed_rows_hold_one_question_each(experiment: Experiment, splits: Splits, tokenizer: Any) -> None:
    data = QuestionData(experiment, splits, tokenizer)
    rows = list(chain.from_iterable(data.train_batches(0)))
    wanted = [list(examples(*pair, experiment.reasoning.stages)) for pair in splits.train]
    assert sorted(rows, key=repr) == sorted(wanted, key=repr)
    assert rows != wanted  # shuffled


def test_mixed_batches_mix_stages(experiment: Experiment, splits: Splits, tokenizer: Any, change: Change) -> None:
    data = QuestionData(change(experiment, "data", stream="mixed", batch_size=8), splits, tokenizer)
    batches = data.train_batches(0)
    assert {len(row) for batch in batches for row in batch} == {1}
    assert any(len({row[0].stage for row in batch}) > 1 for batch in batches)


@pytest.mark.parametrize(
    ("steps", "size", "order"),
    [
        (1, 2, "RAAAAS RAAAAS RAAAAS"),
        (2, 2, "RR AAAAAAAA SS R AAAA S"),
        (100, 2, "RRR AAAAAAAAAAAA SSS"),
        (1, 4, "RAAAAS RAAS"),  # six recalls make two batches, 24 analyses six
    ],
)
def test_interleaved_cycle(
    experiment: Experiment, world: Splits, tokenizer: Any, change: Change, steps: int, size: int, order: str
) -> None:
    """I batches of recall, I x 4 options of analyze, I of summarize, until all are used up."""
    settings = change(experiment, "data", stream="interleaved", interleave_steps=steps, batch_size=size)
    batches = QuestionData(settings, world, tokenizer).train_batches(0)
    stages = [{row[0].stage for row in batch} for batch in batches]
    assert all(len(found) == 1 for found in stages)
    assert "".join(found.pop()[0].upper() for found in stages) == order.replace(" ", "")


@pytest.mark.parametrize("stream", STREAMS)
def test_the_order_depends_on_seed_and_epoch_alone(
    experiment: Experiment, splits: Splits, tokenizer: Any, change: Change, stream: str
) -> None:
    experiment = change(experiment, "data", stream=stream)
    first = QuestionData(experiment, splits, tokenizer)
    torch.manual_seed(99)
    first.train_batches(0)
    assert first.train_batches(1) == QuestionData(experiment, splits, tokenizer).train_batches(1)
    assert first.train_batches(1) != first.train_batches(2)
    other = QuestionData(replace(experiment, seed=5), splits, tokenizer)
    assert first.train_batches(1) != other.train_batches(1)


@pytest.mark.parametrize("stream", STREAMS)
def test_exercises_come_first_and_in_the_first_epoch_only(
    experiment: Experiment, world: Splits, tokenizer: Any, change: Change, stream: str
) -> None:
    plain = change(experiment, "data", stream=stream, batch_size=2)
    warm = QuestionData(change(plain, "data", curriculum_steps=3), world, tokenizer)
    without = QuestionData(plain, world, tokenizer)
    warm.train_dataloader()
    assert warm.curriculum is not None
    batches = list(warm.curriculum)
    assert {e.stage for e in flat(batches[:3])} == {"exercise"}
    assert batches[3:] == without.train_batches(0)
    warm.trainer = SimpleNamespace(current_epoch=1)  # type: ignore[assignment]
    warm.train_dataloader()
    assert warm.curriculum is None


def test_exercises_reach_the_model_as_their_own_stage(
    experiment: Experiment, world: Splits, tokenizer: Any, change: Change
) -> None:
    data = QuestionData(change(experiment, "data", curriculum_steps=1), world, tokenizer)
    first, second, *_ = data.train_dataloader()
    assert set(first["stages"].tolist()) == {-1}
    assert set(second["stages"].tolist()) == {0, 1, 2}


def test_the_dataloader_gives_collated_batches_of_the_epoch(data: QuestionData) -> None:
    names = [stage.name for stage in data.stages]
    for epoch in (0, 2):
        data.trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        batches = data.train_batches(epoch)
        loaded = list(data.train_dataloader())
        assert len(loaded) == len(batches)
        for mine, rows in zip(loaded, batches, strict=True):
            wanted = collate([tokenize(data.tokenizer, row, names) for row in rows], data.tokenizer.pad_token_id)
            assert mine.keys() == wanted.keys()
            assert all(torch.equal(mine[key], wanted[key]) for key in wanted)


def test_questions_come_in_order_and_in_batches(data: QuestionData, splits: Splits) -> None:
    for loader, questions in ((data.val_dataloader(), splits.validation), (data.test_dataloader(), splits.test)):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert tuple(chain.from_iterable(batches)) == questions


def test_questions_never_move_to_a_device(data: QuestionData) -> None:
    batch = next(iter(data.val_dataloader()))
    assert isinstance(batch[0], Question)
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0) is batch
    tensors = next(iter(data.train_dataloader()))
    moved = data.transfer_batch_to_device(tensors, torch.device("meta"), 0)
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}

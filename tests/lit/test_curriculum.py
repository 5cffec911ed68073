"""Lessons end when they are learned, at the latest when their steps are up; the questions get the rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from types import SimpleNamespace

import torch

from litestage.lit.curriculum import LEARNED, Curriculum, Listen, Row
from litestage.text.stages import Example


def rows(name: str) -> Iterator[Row]:
    return repeat([Example(name, "p", "t")])


def make(steps: int) -> Curriculum:
    batches = [[[Example(f"question {i}", "p", "t")]] for i in range(3)]
    return Curriculum([rows("bare"), rows("whole")], steps, batches, size=2)


def names(curriculum: Curriculum) -> list[str]:
    return [batch[0][0].stage for batch in curriculum]


QUESTIONS = ["question 0", "question 1", "question 2"]


def learn(curriculum: Curriculum) -> None:
    lesson = curriculum.lesson
    while curriculum.lesson == lesson:
        curriculum.hear(LEARNED[lesson] / 2)


def test_lessons_that_are_not_learned_end_when_their_steps_are_up() -> None:
    curriculum = make(4)
    assert curriculum.ended is None
    assert names(curriculum) == ["bare"] * 4 + QUESTIONS
    assert curriculum.ended == 4


def test_lessons_end_as_soon_as_they_are_learned() -> None:
    curriculum = make(40)
    seen = []
    for index, batch in enumerate(curriculum):
        assert len(batch) == (2 if index < 3 else 1)
        seen.append(batch[0][0].stage)
        if index in (1, 2):
            learn(curriculum)
    assert seen == ["bare", "bare", "whole", *QUESTIONS]
    assert curriculum.ended == 3


def test_one_lucky_batch_ends_no_lesson() -> None:
    curriculum = make(4)
    curriculum.hear(0.0)
    assert curriculum.lesson == 0


def test_only_batches_of_exercises_are_heard() -> None:
    curriculum = make(4)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(curriculum=curriculum))
    before = curriculum.smoothed
    for stages, heard in ((torch.tensor([-1, 0]), False), (torch.tensor([-1, -1]), True)):
        output = {"loss": torch.tensor(1.0)}
        Listen().on_train_batch_end(trainer, None, output, {"stages": stages}, 0)  # type: ignore[arg-type]
        assert (curriculum.smoothed < before) == heard

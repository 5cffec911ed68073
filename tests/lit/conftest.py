"""A few short questions, and a small model that has learned to answer A."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from litestage.config import (
    DataSettings,
    Experiment,
    ModelSettings,
    ReasoningSettings,
    TinySettings,
    TrackingSettings,
    three_stages,
)
from litestage.lit.datamodule import QuestionData
from litestage.lit.tune import FineTune
from litestage.model.tiny import tiny_llama, tiny_tokenizer
from litestage.records import Question, Rationale
from litestage.text.benchmarks import Splits
from litestage.text.stages import examples

THINGS = ("nail", "log", "sock", "mirror", "map", "boot")
TINY = TinySettings(blocks=2, hidden=32, heads=2, ffn=48, vocabulary=320)


def make_questions(count: int, name: str, golds: str = "A") -> list[Question]:
    """Questions of two and three options in turns."""
    out = []
    for i in range(count):
        labels = "ABC"[: 2 + i % 2]
        options = {label: THINGS[(i + j) % len(THINGS)] for j, label in enumerate(labels)}
        out.append(Question(f"{name}{i}", f"What floats, case {i}?", options, golds[i % len(golds)]))
    return out


def make_splits() -> Splits:
    """In training the answer is always A, elsewhere only now and then."""
    train = make_questions(8, "train")
    pairs = [
        (q, Rationale(q.id, {"recall": {"": "Wood floats."}, "analyze": {k: f"A {v}." for k, v in q.options.items()}}))
        for q in train
    ]
    return Splits(tuple(pairs), tuple(make_questions(5, "val", "ABA")), tuple(make_questions(5, "test", "AABB")))


def make_experiment(**changes: Any) -> Experiment:
    """Short outputs, no tracking; `changes` are the fields of the group `data`."""
    stages = three_stages()
    for stage, cap in zip(stages, (8, 8, 20), strict=True):
        stage.max_new_tokens = cap
    return Experiment(
        run="tests",
        model=ModelSettings(tiny=TINY, learning_rate=1e-2, beta2=0.98, weight_decay=0.0),
        data=DataSettings(**{"batch_size": 4, **changes}),
        reasoning=ReasoningSettings(stages=stages, batch_size=2),
        tracking=TrackingSettings(wandb="disabled"),
    )


def make_tokenizer(splits: Splits) -> Any:
    stages = three_stages()
    texts = [e.prompt + e.target for pair in splits.train for e in examples(*pair, stages)]
    return tiny_tokenizer(texts, TINY.vocabulary)


def make_trainer(folder: Path, epochs: int = 1, callbacks: Sequence[Any] = (), **rest: Any) -> L.Trainer:
    """A silent Trainer on the CPU."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "num_sanity_val_steps": 0}
    arguments: dict[str, Any] = {**quiet, "enable_checkpointing": bool(callbacks), "accelerator": "cpu", **rest}
    return L.Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        reload_dataloaders_every_n_epochs=1,
        **arguments,
    )


@pytest.fixture
def model(make: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    return make("llama")


@pytest.fixture
def splits() -> Splits:
    return make_splits()


@pytest.fixture
def tokenizer(splits: Splits) -> Any:
    return make_tokenizer(splits)


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment()


@pytest.fixture
def data(experiment: Experiment, splits: Splits, tokenizer: Any) -> QuestionData:
    return QuestionData(experiment, splits, tokenizer)


@pytest.fixture
def module(experiment: Experiment, tokenizer: Any) -> FineTune:
    """Not trained."""
    return FineTune(experiment, tiny_llama(TINY, tokenizer, seed=0), tokenizer, "tiny (tests)")


@pytest.fixture
def trainer() -> Callable[..., L.Trainer]:
    return make_trainer


@pytest.fixture(scope="session")
def trained_once() -> FineTune:
    """A model that answers A to everything, in the form it was taught."""
    experiment, splits = make_experiment(), make_splits()
    tokenizer = make_tokenizer(splits)
    module = FineTune(experiment, tiny_llama(TINY, tokenizer, seed=0), tokenizer, "tiny (tests)")
    data = QuestionData(experiment, splits, tokenizer)
    batch = data._tensors(data.train_batches(0)[0])
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack([loss for loss, _ in module.stage_losses(batch).values()]).mean().backward()
        optimizer.step()
    return module.eval()


@pytest.fixture
def trained(trained_once: FineTune) -> FineTune:
    """A copy that a test may change."""
    return FineTune(
        make_experiment(), copy.deepcopy(trained_once.model), trained_once.engine.tokenizer, trained_once.engine.name
    ).eval()


@pytest.fixture
def change() -> Callable[..., Experiment]:
    """The experiment with other fields of one of its groups."""

    def changed(experiment: Experiment, group: str, **fields: Any) -> Experiment:
        return replace(experiment, **{group: replace(getattr(experiment, group), **fields)})

    return changed

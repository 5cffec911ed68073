"""One architecture is enough here: the floor below is tested on all of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import torch

from litestage import pipeline
from litestage.config import ReasoningSettings, three_stages
from litestage.engine import Engine
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_tokenizer
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.reuse import Reuse
from litestage.search.cost import CostModel
from litestage.search.trial import Trial


@pytest.fixture
def model(make: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    return make("llama")


@pytest.fixture
def cost() -> CostModel:
    """A step takes as many seconds as it has rows: what a plan takes at least is nearly what it takes."""
    return CostModel(6, [1, 40], [(1.0, 0.5, 0.25), (40.0, 20.0, 10.0)], (0.1, 4e-4, 1e-4, 1e-4), {}, [0.25, 10.0])


@cache
def build(make: Callable[..., torch.nn.Module], seed: int, count: int) -> tuple[Engine, list[Question]]:
    """What `made_up` makes, once."""
    draw = random.Random(seed)
    asked = []
    for i in range(count):
        options = dict(zip("ABC"[: 2 + i % 2], ("a nail", "a log", "a sock"), strict=False))
        asked.append(Question(f"q{i}", f"{i}: which of these floats?" + " Look." * (i % 3), options))
    stages = three_stages()
    for stage in stages:
        stage.max_new_tokens = 6
    tokenizer = tiny_tokenizer([q.text for q in asked], 300)
    engine = Engine(Decoder(make("llama", seed)), tokenizer, ReasoningSettings(stages=stages), "random")
    reuse = Reuse()
    run(engine, asked, engine.full_depth(), reuse=reuse)
    said = Counter(t for o in reuse.outputs.values() for t in o.tokens[1:] if t < len(tokenizer))
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(said.most_common(1)[0][0])
    skips = [(), (draw.randrange(6),), tuple(draw.sample(range(6), 2))]
    plans = [Plan(engine.name, 6, dict.fromkeys(engine.stage_names, StagePlan(skip))) for skip in skips]
    answers = [[a.answer for a in run(engine, asked, plan).attempts] for plan in plans]
    return engine, [replace(q, answer=draw.choice([answers[0], *answers])[i]) for i, q in enumerate(asked)]


@pytest.fixture
def made_up(
    make: Callable[..., torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Engine, list[Question]]]:
    """`made_up(seed)`: a random model and questions it is often right about, as are some plans that skip.

    Noise names no option, so what it is made of does. The model's favourite token ends an output, so lengths differ.
    """
    monkeypatch.setattr(pipeline, "parse", lambda text, _, labels: sorted(labels)[crc32(text.encode()) % len(labels)])

    def make_up(seed: int, count: int = 12, batch: int = 6) -> tuple[Engine, list[Question]]:
        engine, questions = build(make, seed, count)
        return replace(engine, reasoning=replace(engine.reasoning, batch_size=batch)), questions

    return make_up


class Table:
    """An objective that looks plans up: `row(plan)` gives accuracy and latency per stage."""

    def __init__(self, row: Callable[[Plan], Any], n: int = 1000) -> None:
        stages = ["recall", "analyze", "summarize"]
        full_depth = lambda: Plan.full_depth("m", 8, stages)  # noqa: E731
        decoder = SimpleNamespace(num_sublayers=8)
        self.engine: Any = SimpleNamespace(name="m", stage_names=stages, decoder=decoder, full_depth=full_depth)
        self.row, self.n = row, n
        self.trials: list[Trial] = []
        self.races: list[tuple[int, float, list[Trial]]] = []
        self.bases: list[Trial] = []
        self.quantiles: list[tuple[str, int, float]] = []

    def trial(self, plan: Plan) -> Trial:
        accuracy, latency = self.row(plan)
        self.trials.append(Trial(plan, self.n, {f"q{i}": i < round(accuracy * self.n) for i in range(self.n)}, latency))
        return self.trials[-1]

    def race(self, plans: Sequence[Plan], needed: int, limit: float, best: Trial | None = None) -> list[Trial]:
        self.races.append((needed, limit, [self.trial(plan) for plan in plans]))
        return self.races[-1][2]

    def rank_questions(self, base: Trial) -> None:
        self.bases.append(base)

    def window_quantile(self, full: Trial, stage: str, window: int, share: float) -> float:
        self.quantiles.append((stage, window, share))
        return {"recall": 0.25, "analyze": 0.35, "summarize": 0.45}[stage]


@pytest.fixture
def table() -> type[Table]:
    """`table(row)`: an objective without a model."""
    return Table

"""Teacher-forced losses against the transformers model with muted sub-layers; greedy orders of made-up effects."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from litestage.engine import Engine
from litestage.pipeline import run
from litestage.plan import StagePlan
from litestage.records import Attempt, Question
from litestage.reuse import Reuse
from litestage.search.effects import HARMLESS, StageLosses, greedy_order, worth

SAME = [1.0] * 6


@pytest.fixture
def full(engine: Engine, questions: list[Question]) -> tuple[Reuse, list[Attempt]]:
    reuse = Reuse()
    return reuse, run(engine, questions, engine.full_depth(), reuse=reuse).attempts


def outputs(engine: Engine, reuse: Reuse, attempts: list[Attempt], stage: str) -> Iterator[tuple[list[int], Any]]:
    """Prompt and output of everything a stage wrote."""
    settings = next(s for s in engine.reasoning.stages if s.name == stage)
    for prompt in {o.prompt: None for a in attempts for o in a.outputs if o.stage == stage}:
        yield engine.tokenizer(prompt)["input_ids"], reuse.get(settings, StagePlan(), prompt)


@contextmanager
def muted(model: Any, skip: Collection[int], start: int) -> Iterator[None]:
    """Let sub-layers add nothing from position `start` on."""

    def hook(module: object, inputs: object, output: Any) -> Any:
        attended = isinstance(output, tuple)
        out = (output[0] if attended else output).clone()
        out[:, start:] = 0.0
        return (out, *output[1:]) if attended else out

    blocks = model.model.layers
    parts = [blocks[j // 2].mlp if j % 2 else blocks[j // 2].self_attn for j in skip]
    handles = [part.register_forward_hook(hook) for part in parts]
    yield
    for handle in handles:
        handle.remove()


def one_by_one(model: Any, prompt: list[int], tokens: list[int], skip: Collection[int]) -> list[float]:
    """The loss of every token but the first, each from a pass of its own over all before it."""
    losses = []
    with torch.inference_mode(), muted(model, skip, len(prompt)):
        for i in range(1, len(tokens)):
            logits = model(torch.tensor([prompt + tokens[:i]])).logits[0, -1]
            losses.append(float(cross_entropy(logits[None], torch.tensor(tokens[i : i + 1]))))
    return losses


@pytest.mark.parametrize("skip", [set(), {2}, {5}, {0, 3, 4}, set(range(6))])
@pytest.mark.parametrize("stage", ["recall", "analyze"])
def test_the_loss_is_that_of_reading_the_outputs_token_by_token(
    engine: Engine, model: Any, full: tuple[Reuse, list[Attempt]], stage: str, skip: set[int]
) -> None:
    reuse, attempts = full[0], full[1][:3]
    want = [
        loss
        for prompt, output in outputs(engine, reuse, attempts, stage)
        for loss in one_by_one(model, prompt, output.tokens, skip)
    ]
    losses = StageLosses(engine, reuse, attempts, stage)
    assert len(want) > 20
    assert losses.loss(skip) == pytest.approx(sum(want) / len(want), abs=1e-4)
    assert losses.rise(skip) == pytest.approx(losses.loss(skip) - losses.full)
    assert not skip or losses.rise(skip) > 0.1


def test_full_depths_own_loss_is_that_of_its_greedy_tokens(engine: Engine, full: tuple[Reuse, list[Attempt]]) -> None:
    """The likeliest token's probability is what decoding called its confidence."""
    for stage in engine.stage_names:
        sure = [c for _, output in outputs(engine, *full, stage) for c in output.confidences[1:]]
        losses = StageLosses(engine, *full, stage)
        assert losses.full == pytest.approx(-float(torch.tensor(sure).log().mean()), abs=1e-4)
        assert losses.loss(()) == losses.full


def test_one_pass_a_skip_set_and_nothing_is_generated(
    engine: Engine, full: tuple[Reuse, list[Attempt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = StageLosses(engine, *full, "analyze")
    assert (losses.full > 0, losses.passes) == (True, 1)
    calls: list[int] = []
    hidden = engine.decoder.hidden
    monkeypatch.setattr(engine.decoder, "hidden", lambda ids, *rest: calls.append(len(ids)) or hidden(ids, *rest))
    losses.rise({1, 2})
    assert losses.passes == 2  # one of them for full depth
    assert len(calls) == len(losses.batches)
    assert sum(calls) == sum(len(output.tokens) - 1 for _, output in outputs(engine, *full, "analyze"))


def test_entropies_are_those_of_the_distributions_under_the_plan(
    engine: Engine, model: Any, questions: list[Question]
) -> None:
    full, reuse, part = engine.full_depth(), Reuse(), StagePlan((2, 5))
    plan = replace(full, stages={**full.stages, "analyze": part})
    attempts = run(engine, questions[:2], plan, reuse=reuse).attempts
    found = StageLosses(engine, reuse, attempts, "analyze", part).entropies()
    settings = next(s for s in engine.reasoning.stages if s.name == "analyze")
    assert found
    for prompt, values in found.items():
        ids, output = engine.tokenizer(prompt)["input_ids"], reuse.get(settings, part, prompt)
        assert output is not None
        with torch.inference_mode(), muted(model, part.skip, len(ids)):
            shares = model(torch.tensor([ids + output.tokens])).logits[0, len(ids) - 1 : -1].softmax(-1)
        assert values == pytest.approx((-(shares * shares.log()).sum(-1)).tolist(), abs=1e-4)


def test_neither_batch_size_nor_a_question_asked_twice_changes_the_loss(
    engine: Engine, full: tuple[Reuse, list[Attempt]]
) -> None:
    reuse, attempts = full
    want = StageLosses(engine, reuse, attempts, "analyze").loss({3})
    for size in (1, 4, 100):
        other = replace(engine, reasoning=replace(engine.reasoning, batch_size=size))
        losses = StageLosses(other, reuse, attempts * 2, "analyze")
        assert len(losses.batches) == {1: 14, 4: 4, 100: 1}[size]
        assert losses.loss({3}) == pytest.approx(want, abs=1e-5)


def test_what_is_not_known_or_one_token_long_is_left_out(engine: Engine, full: tuple[Reuse, list[Attempt]]) -> None:
    reuse, attempts = full
    nothing = StageLosses(engine, Reuse(), attempts, "recall")
    assert (nothing.batches, nothing.rise({0, 1, 2})) == ([], 0.0)
    stage, prompt = engine.reasoning.stages[0], attempts[0].outputs[0].prompt
    whole = reuse.get(stage, StagePlan(), prompt)
    assert whole is not None
    reuse.put(stage, StagePlan(), prompt, replace(whole, tokens=whole.tokens[:1]))
    losses, rest = (StageLosses(engine, reuse, part, "recall") for part in (attempts, attempts[1:]))
    assert losses.loss({1}) == pytest.approx(rest.loss({1}), abs=1e-5)


class MadeUp:
    """Effects of single sub-layers, and of pairs on top; counts how often it is asked."""

    def __init__(self, singles: list[float], pairs: dict[tuple[int, int], float] | None = None) -> None:
        self.singles, self.pairs, self.asked = singles, pairs or {}, 0

    def __call__(self, skip: Collection[int]) -> float:
        self.asked += 1
        pairs = [self.pairs.get(pair, 0.0) for pair in combinations(sorted(skip), 2)]
        return sum(self.singles[j] for j in skip) + sum(pairs)


def test_effects_that_add_up_give_the_sorted_order() -> None:
    rise = MadeUp([0.5, 0.1, 0.6, 0.3, 0.2, 0.4])
    assert greedy_order(rise, rise.singles, 6, SAME) == [1, 4, 3, 5, 0, 2]
    assert rise.asked == 5  # only the best is measured again


def test_two_that_stand_in_for_each_other_are_not_both_skipped() -> None:
    """4 is harmless alone and ruinous without 1."""
    rise = MadeUp([0.5, 0.1, 0.6, 0.3, 0.2, 0.4], {(1, 4): 5.0})
    assert greedy_order(rise, rise.singles, 6, SAME) == [1, 3, 5, 0, 2, 4]
    assert sorted(range(6), key=lambda j: rise.singles[j])[:2] == [1, 4]


def test_the_part_behind_the_depth_follows_single_effects() -> None:
    rise = MadeUp([0.5, 0.1, 0.6, 0.3, 0.2, 0.4], {(1, 4): 5.0})
    assert greedy_order(rise, rise.singles, 2, SAME) == [1, 3, 4, 5, 0, 2]
    assert greedy_order(rise, rise.singles, 1, SAME) == [1, 4, 3, 5, 0, 2]
    assert greedy_order(rise, rise.singles, 0, SAME) == [1, 4, 3, 5, 0, 2]
    assert greedy_order(rise, rise.singles, 99, SAME) == greedy_order(rise, rise.singles, 6, SAME)


def test_effects_count_by_what_skipping_saves() -> None:
    rise = MadeUp([0.5, 0.1, 0.6, 0.3, 0.2, 0.4])
    assert greedy_order(rise, rise.singles, 6, [1, 1, 10, 1, 1, 3]) == [2, 1, 5, 4, 3, 0]
    assert greedy_order(rise, rise.singles, 0, [1, 1, 10, 1, 1, 3]) == [2, 1, 5, 4, 3, 0]


def test_what_is_as_good_as_harmless_goes_by_what_it_saves() -> None:
    assert worth(-0.3, 2.0) == worth(HARMLESS / 2, 2.0) == HARMLESS / 2
    assert worth(0.3, 2.0) == 0.15
    rise = MadeUp([-0.5, 0.00001, 0.6])
    assert greedy_order(rise, rise.singles, 3, [1.0, 2.0, 1.0]) == [1, 0, 2]


def test_ties_go_to_attention_then_to_the_lower_block() -> None:
    rise = MadeUp([0.1] * 6)
    for depth in (0, 6):
        assert greedy_order(rise, rise.singles, depth, SAME) == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("seed", range(20))
def test_lazy_is_as_good_as_measuring_everything(seed: int) -> None:
    """Where skipping more never makes a sub-layer less important."""
    draw = random.Random(seed)
    pairs = {pair: draw.random() * draw.choice([0, 1, 3]) for pair in combinations(range(8), 2)}
    rise = MadeUp([draw.random() for _ in range(8)], pairs)
    saved = [draw.choice([1.0, 1.5]) for _ in range(8)]
    order: list[int] = []
    while len(order) < 8:
        left = [j for j in range(8) if j not in order]
        order.append(min(left, key=lambda j: worth(rise({*order, j}) - rise(order), saved[j])))
    rise.asked = 0
    assert greedy_order(rise, rise.singles, 8, saved) == order
    assert rise.asked <= 7 * 8 / 2

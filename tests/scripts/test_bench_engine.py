"""The benchmark's other side: the pipeline by `model.generate` says the same as ours, and the counts are right."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from litestage.engine import Engine
from litestage.pipeline import run
from litestage.records import Question


@pytest.mark.parametrize("batch", [1, 3])
def test_stage_by_stage_gives_the_same_texts(
    bench: ModuleType, model: torch.nn.Module, engine: Engine, questions: list[Question], batch: int
) -> None:
    other = bench.stage_by_stage.answer(model, engine.tokenizer, engine.reasoning, questions, batch)
    result = run(engine, questions, engine.full_depth())
    texts = {(a.question_id, o.stage, o.label): o.text for a in result.attempts for o in a.outputs}
    assert other.texts == texts
    assert other.tokens == sum(o.tokens for a in result.attempts for o in a.outputs)
    prompts = [o.prompt for a in result.attempts for o in a.outputs]
    assert other.prefill_tokens == sum(map(len, engine.tokenizer(prompts)["input_ids"]))
    assert 0 < other.prefill_seconds < other.seconds
    assert not model._forward_hooks


def test_the_summary_has_every_promised_key(
    bench: ModuleType, model: torch.nn.Module, engine: Engine, questions: list[Question]
) -> None:
    limits = bench.Ceilings(read=1e9, flops=1e12)
    found = bench.compare(model, engine, questions, 2, 1, limits)
    assert found["same_text"]
    assert 0 < found["prefill_token_share"] < 1
    assert 0 < found["fraction_of_ceiling"] < 1
    assert bench.skipping(engine, questions, 2, 1, range(0, 60)) > 0
    assert set(bench.memory(engine, questions)) >= {"peak_rss_over_formula", "keys_and_values_mib"}


def test_the_least_work_counts_weights_once_a_step(
    bench: ModuleType, engine: Engine, questions: list[Question]
) -> None:
    result = run(engine, questions, engine.full_depth())
    work = bench.Work(engine, result)
    steps = sum(sum(usage.trace.steps.values()) for usage in result.usage.values())
    weights = sum(p.numel() for block in engine.decoder.blocks for p in block.parameters())
    weights += engine.decoder.head.weight.numel()
    assert work.decode_bytes == 4 * weights * steps
    slow = work.least_seconds(bench.Ceilings(read=1.0, flops=1e30))
    assert slow == pytest.approx(work.decode_bytes + work.prefill_bytes)


def test_skip_sets_scale_with_the_model(bench: ModuleType, engine: Engine) -> None:
    assert bench.scaled(engine, range(20, 40)) == (2, 3)  # 6 sub-layers

"""The pipeline as one would write it with plain transformers: `model.generate`, stage after stage, left padding.

Every stage's prompts of a batch, all options together, go through one call with a KV cache; the next stage starts
from text again. `bench_engine.py` compares the engine with it; nothing else uses it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from litestage.config import ReasoningSettings
from litestage.records import Question
from litestage.text.stages import render


@dataclass
class Run:
    """What one pass over the questions gave and cost."""

    texts: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(question id, stage, option label) -> output."""
    seconds: float = 0.0
    prefill_seconds: float = 0.0
    prefill_tokens: int = 0
    tokens: int = 0


def answer(model: Any, tokenizer: Any, reasoning: ReasoningSettings, questions: Sequence[Question], batch: int) -> Run:
    """Answer questions greedily, `batch` at a time."""
    run = Run()
    hooks = _time_prefill(model, run)
    tokenizer.padding_side = "left"
    start = time.perf_counter()
    for first in range(0, len(questions), batch):
        _answer_batch(model, tokenizer, reasoning, questions[first : first + batch], run)
    run.seconds = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    return run


def _answer_batch(
    model: Any, tokenizer: Any, reasoning: ReasoningSettings, questions: Sequence[Question], run: Run
) -> None:
    earlier: dict[str, dict[str, dict[str, str]]] = {q.id: {} for q in questions}
    for index, stage in enumerate(reasoning.stages):
        wanted = [
            (q, label, prompt)
            for q in questions
            for label, prompt in render(q, reasoning.stages, index, earlier[q.id]).items()
        ]
        inputs = tokenizer([prompt for *_, prompt in wanted], return_tensors="pt", padding=True).to(model.device)
        run.prefill_tokens += int(inputs["attention_mask"].sum())
        ids = model.generate(
            **inputs, max_new_tokens=stage.max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        new = ids[:, inputs["input_ids"].shape[1] :]
        for (question, label, _), row in zip(wanted, new, strict=True):
            ended = (row == tokenizer.eos_token_id).nonzero()
            row = row[: int(ended[0]) + 1] if len(ended) else row
            run.tokens += len(row)
            text = tokenizer.decode(row, skip_special_tokens=True).strip()
            earlier[question.id].setdefault(stage.name, {})[label] = text
            run.texts[question.id, stage.name, label] = text


def _time_prefill(model: Any, run: Run) -> list[Any]:
    """Count forward passes of more than one token as prefill."""
    begun: list[float] = []

    def before(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        begun.append(time.perf_counter())

    def after(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        seconds = time.perf_counter() - begun.pop()
        ids: torch.Tensor = kwargs["input_ids"]
        if ids.shape[1] > 1:
            run.prefill_seconds += seconds

    return [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]

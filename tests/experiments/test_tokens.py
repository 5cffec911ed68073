"""Entropy and confidence against the transformers model itself; one question with its cut parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from litestage.experiments import Bench, Result
from litestage.experiments.tokens import _cut_parts, entropy, example
from litestage.plan import ExitRule, Plan

Made = Callable[[str], Result]
Picked = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def distributions(bench: Bench) -> dict[str, list[list[torch.Tensor]]]:
    """Stage -> the distributions behind each full-depth output's tokens, by one plain forward pass each."""
    model = AutoModelForCausalLM.from_pretrained(bench.given.folder / "model", dtype=torch.float32).eval()
    full = bench.engine.full_depth()
    out: dict[str, list[list[torch.Tensor]]] = {}
    for attempt in bench.answers(full, bench.validation):
        for output, generated in bench.generated(attempt, full):
            ids = bench.engine.tokenizer(output.prompt)["input_ids"]
            with torch.inference_mode():
                logits = model(torch.tensor([[*ids, *generated.tokens]])).logits[0]
            rows = logits[len(ids) - 1 : -1].softmax(-1)
            out.setdefault(output.stage, []).append(list(rows))
    return out


def test_entropy_is_that_of_the_models_distributions(
    made: Made, picked: Picked, distributions: dict[str, list[list[torch.Tensor]]]
) -> None:
    for stage in ("recall", "summarize"):  # one output a question
        (row,) = picked(made("entropy"), plan="full depth", stage=stage)
        long = [rows for rows in distributions[stage] if len(rows) > 1]
        means = torch.stack([torch.stack([-(p * p.log()).sum() for p in rows]).mean() for rows in long])
        assert row["entropy_nats"] == pytest.approx(float(means.mean()), rel=1e-3)
        assert row["entropy_stderr"] == pytest.approx(float(means.std() / len(long) ** 0.5), rel=1e-2, abs=1e-6)
        assert row["questions"] == len(long)


def test_entropy_under_a_plan_reads_without_what_it_skips(opened: Callable[..., Bench], picked: Picked) -> None:
    """A plan that skips nothing has full depth's entropy; one that skips has another."""
    bench = opened()
    for skip in ((), (1,)):
        plan = bench.engine.full_depth()
        stages = {name: replace(stage, skip=skip) for name, stage in plan.stages.items()}
        bench.plan = replace(plan, stages=stages)
        result = entropy(bench)
        (full,), (mine,) = (picked(result, plan=name, stage="recall") for name in ("full depth", "litestage"))
        assert (full["entropy_nats"] == mine["entropy_nats"]) == (skip == ())


def test_confidence_follows_the_outputs_that_are_still_running(
    bench: Bench, made: Made, picked: Picked, distributions: dict[str, list[list[torch.Tensor]]]
) -> None:
    result = made("confidence")
    for plan, stage in [(p, s) for p in ("full depth", "litestage") for s in bench.engine.stage_names]:
        rows = picked(result, plan=plan, stage=stage)
        assert [row["token"] for row in rows] == list(range(1, len(rows) + 1))
        running = [row["running"] for row in rows]
        assert running == sorted(running, reverse=True)
        options = sum(len(q.options) for q in bench.validation)
        assert running[0] == (options if stage == "analyze" else len(bench.validation))
    for stage, outputs in distributions.items():
        for row in picked(result, plan="full depth", stage=stage):
            there = [rows[row["token"] - 1].max() for rows in outputs if len(rows) >= row["token"]]
            assert (row["running"], row["confidence"]) == (
                len(there),
                pytest.approx(float(torch.stack(there).mean()), abs=1e-4),
            )


def test_the_cut_part_is_what_would_have_followed(opened: Callable[..., Bench]) -> None:
    bench = opened()
    rule = ExitRule(2, 1.0)  # cuts as soon as it may
    full = bench.engine.full_depth()
    exits = replace(full, stages={n: replace(s, exit=rule) if n == "recall" else s for n, s in full.stages.items()})
    question = bench.test[0]
    (whole,), (cut,) = bench.answers(full, [question]), bench.answers(exits, [question])
    assert (cut.outputs[0].stop, cut.outputs[0].tokens) == ("confidence", 2)
    rest = _cut_parts(bench, exits, question)
    assert set(rest) == {("recall", "")}
    joined = cut.outputs[0].text + rest["recall", ""]
    assert joined.replace(" ", "") == whole.outputs[0].text.replace(" ", "")


def test_the_example_is_one_that_exit_cuts(copied: Path, opened: Callable[..., Bench]) -> None:
    plan = Plan.from_pretrained(copied / "plan")
    stages = {name: replace(stage, exit=ExitRule(2, 1.0)) for name, stage in plan.stages.items()}
    replace(plan, stages=stages).save_pretrained(copied / "plan")
    bench = opened()
    result = example(bench)
    question = bench.test[0]
    assert question.text in result.question
    plans = list(dict.fromkeys(row["plan"] for row in result.rows))
    assert plans == ["full depth", "skipping", "skipping and exit"]
    (attempt,) = bench.answers(bench.engine.full_depth(), [question])
    assert [r["text"] for r in result.rows if r["plan"] == "full depth"] == [o.text for o in attempt.outputs]
    assert all(row["cut"] == "" for row in result.rows if row["stopped_by"] != "confidence")
    assert any(row["cut"] for row in result.rows if row["plan"] == "skipping and exit")

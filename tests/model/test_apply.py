"""A plan under transformers' own `generate`: the tokens of the engine, and no trace left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from litestage.model.decode import Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule, Plan, StagePlan

PROMPT = [5, 9, 17, 40, 41, 7, 23, 99, 8]
SKIPS = [(), (3,), (2, 5), (0, 1), (0, 3, 4), (0, 1, 2, 3, 4, 5)]


def plan_of(skip: tuple[int, ...], rule: ExitRule | None = None, prefill: bool = False) -> Plan:
    return Plan("m", 6, {"other": StagePlan(), "analyze": StagePlan(skip, rule, prefill)})


def generated(model: torch.nn.Module, prompts: list[list[int]], new: int = 12) -> list[list[int]]:
    """New tokens of each left-padded row, up to the end token."""
    width = max(map(len, prompts))
    ids = torch.tensor([[1] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False)
    return [row[width:].tolist() for row in out]


def engine_tokens(model: torch.nn.Module, prompts: list[list[int]], plan: Plan, new: int = 12) -> list[list[int]]:
    part, decoder = plan.stages["analyze"], Decoder(model)
    rules = Rules(new, eos=(0,), skip=frozenset(part.skip), exit=part.exit)
    filled = prefill(decoder, prompts, Trace())
    return [output.tokens for output in decode(decoder, filled, range(len(prompts)), rules, Trace())]


@pytest.mark.parametrize("skip", SKIPS)
def test_generate_follows_the_plan(model: torch.nn.Module, skip: tuple[int, ...]) -> None:
    plan = plan_of(skip)
    expected = engine_tokens(model, [PROMPT], plan)
    with plan.apply(model, stage="analyze"):
        assert generated(model, [PROMPT]) == expected


@pytest.mark.parametrize("rule", [ExitRule(2, 0.25), ExitRule(3, 0.5), ExitRule(1, 1.0)])
def test_rows_stop_when_confidence_fades(model: torch.nn.Module, rule: ExitRule) -> None:
    prompts, plan = [PROMPT, PROMPT[2:], [44, 45]], plan_of((3, 4), rule)
    expected = engine_tokens(model, prompts, plan)
    with plan.apply(model, stage="analyze"):
        rows = generated(model, prompts)
    for row, tokens in zip(rows, expected, strict=True):
        assert row[: len(tokens)] == tokens
        assert set(row[len(tokens) :]) <= {1}  # padding


def test_a_prompt_of_one_token_is_read_at_full_depth(model: torch.nn.Module) -> None:
    plan = plan_of((1, 2, 3))
    with plan.apply(model, stage="analyze"):
        assert generated(model, [[44]]) == engine_tokens(model, [[44]], plan)


def test_afterwards_the_model_is_as_before(model: torch.nn.Module) -> None:
    before = generated(model, [PROMPT])

    def fails_inside() -> None:
        with plan_of((1, 2), ExitRule(1, 1.0)).apply(model, stage="analyze"):
            assert generated(model, [PROMPT]) != before
            raise KeyError

    with pytest.raises(KeyError):
        fails_inside()
    assert generated(model, [PROMPT]) == before
    assert "generate" not in vars(model)


def test_what_does_not_fit_is_refused(make: Callable[..., torch.nn.Module]) -> None:
    model = make("llama")
    for plan, stage, message in (
        (plan_of((1,)), "summarize", "no stage 'summarize'; it has other, analyze"),
        (Plan("m", 8, {"analyze": StagePlan((1,))}), "analyze", "for 8 sub-layers, this model has 6"),
        (plan_of((1,), None, True), "analyze", "skips in prefill"),
        (Plan("m", 6, {"analyze": StagePlan((1,), later=((2, (1, 3)),))}), "analyze", "more and more"),
        (Plan("m", 6, {"analyze": StagePlan((1,), scale=((1, 1.1),))}), "analyze", "with factors"),
    ):
        with pytest.raises(ValueError, match=message), plan.apply(model, stage=stage):
            pass

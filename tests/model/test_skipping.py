"""Skip sets that grow while decoding and skipped sub-layers that scale, against an uncached reference in fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from litestage.model.decode import Generated, Prompts, Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.seeding import uniforms

CAP = 14
LENGTHS = (5, 17, 9, 30, 12, 7, 21)
ROWS = (0, 1, 2, 3, 4, 5, 6, 3, 1)
EOS = (0, *range(5, 300, 12))
"""Many, so that rows of a group end at many steps."""

Later = Mapping[int, frozenset[int]]
GROWING: dict[str, tuple[set[int], dict[int, set[int]]]] = {
    "from nothing": (set(), {1: {3}, 4: {0, 3}, 9: {0, 1, 3, 4}}),
    "attention": ({2}, {3: {0, 2}, 6: {0, 2, 4}}),
    "feed-forward": ({5}, {2: {1, 5}}),
    "whole blocks": ({2, 3}, {1: {2, 3, 4, 5}}),
    "to everything": ({0}, {5: set(range(6))}),
}


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in LENGTHS]


def frozen(later: Mapping[int, set[int]]) -> Later:
    return {step: frozenset(skip) for step, skip in later.items()}


def since(skip: set[int], later: Mapping[int, set[int]]) -> dict[int, int]:
    """Sub-layer -> the first decode step that skips it."""
    out = dict.fromkeys(skip, 0)
    for step, grown in later.items():
        out |= {j: step for j in grown if j not in out}
    return out


def until_end(tokens: list[int]) -> list[int]:
    ends = [i for i, token in enumerate(tokens) if token in EOS]
    return tokens[: ends[0] + 1] if ends else tokens


@pytest.fixture
def decoder(model: torch.nn.Module) -> Decoder:
    return Decoder(model)


@pytest.fixture
def filled(decoder: Decoder) -> Prompts:
    return prefill(decoder, make_prompts(), Trace())


@pytest.fixture
def say(decoder: Decoder, filled: Prompts) -> Callable[..., list[Generated]]:
    """Decode all of `ROWS`; prompts 1 and 3 twice."""

    def said(trace: Trace | None = None, **rules: Any) -> list[Generated]:
        return decode(decoder, filled, ROWS, Rules(**{"max_new_tokens": CAP, "eos": EOS, **rules}), trace or Trace())

    return said


@pytest.mark.parametrize("case", GROWING)
@pytest.mark.parametrize("width", [2, 64])
def test_growing_sets_equal_a_naive_reference(
    model: torch.nn.Module, say: Callable[..., list[Generated]], naive: Callable[..., list[int]], case: str, width: int
) -> None:
    skip, later = GROWING[case]
    alone = [until_end(naive(model, prompt, since(skip, later), CAP)) for prompt in make_prompts()]
    outputs = say(skip=frozenset(skip), later=frozen(later), width=width)
    assert [o.tokens for o in outputs] == [alone[row] for row in ROWS]
    assert len({len(tokens) for tokens in alone}) > 1
    assert [o.tokens for o in outputs] != [o.tokens for o in say(skip=frozenset(skip))]


@pytest.mark.parametrize("step", [1, 2, 6])
def test_step_c_gives_token_c_plus_1(model: torch.nn.Module, say: Callable[..., list[Generated]], step: int) -> None:
    """Tokens 0 to `step` come from full depth, the next one from its predecessor's embedding alone."""
    full = say(eos=())
    outputs = say(eos=(), later={step: frozenset(range(6))})
    with torch.inference_mode():
        for output, reference in zip(outputs, full, strict=True):
            assert output.tokens[: step + 1] == reference.tokens[: step + 1]
            logits = model.lm_head(model.model.norm(model.model.embed_tokens(torch.tensor(output.tokens[step]))))
            assert output.tokens[step + 1] == int(logits.argmax())
    assert [o.tokens[step + 1] for o in outputs] != [o.tokens[step + 1] for o in full]


@pytest.mark.parametrize("skip", [frozenset[int](), frozenset({0, 3})])
def test_a_set_that_stays_the_same_changes_no_token(say: Callable[..., list[Generated]], skip: frozenset[int]) -> None:
    assert say(skip=skip, later={3: skip}, width=2) == say(skip=skip)


CASES = {
    "exit": {"exit": ExitRule(2, 0.1)},
    "sampled": {"temperature": 1.5, "draws": uniforms([("row", i) for i in range(len(ROWS))], CAP)},
    "confident": {"confident": True},
}


@pytest.mark.parametrize("case", CASES)
def test_the_width_changes_nothing(say: Callable[..., list[Generated]], case: str) -> None:
    rules = {"later": frozen({1: {1}, 4: {1, 4}}), **CASES[case]}
    wide = say(width=64, **rules)
    for width in (1, 2, 4):
        narrow = say(width=width, **rules)
        assert [(o.tokens, o.stop) for o in narrow] == [(o.tokens, o.stop) for o in wide]
        torch.testing.assert_close([o.confidences for o in narrow], [o.confidences for o in wide], rtol=0, atol=2e-6)
    assert wide != say(width=64, **CASES[case])
    assert case != "exit" or "confidence" in {o.stop for o in wide}


def test_a_group_starts_when_all_of_the_last_one_have_ended(say: Callable[..., list[Generated]]) -> None:
    trace = Trace()
    outputs = say(trace, later={1: frozenset({1})}, width=4)
    lengths = [len(o.tokens) for o in outputs]
    assert trace.steps.total() == sum(max(lengths[start : start + 4]) - 1 for start in (0, 4, 8))
    assert max(trace.steps) == 4
    assert len(set(lengths)) > 2


SCALED: dict[str, tuple[set[int], dict[int, float]]] = {
    "attention": ({0, 2}, {0: 1.4, 2: 0.7}),
    "feed-forward": ({1, 3}, {1: 0.6, 3: 1.5}),
    "only one of two": ({1, 4}, {4: 1.6}),
    "a whole block": ({2, 3}, {2: 1.3, 3: 1.3}),
}


@pytest.mark.parametrize("case", SCALED)
def test_scaled_skipping_equals_a_naive_reference(
    model: torch.nn.Module, say: Callable[..., list[Generated]], naive: Callable[..., list[int]], case: str
) -> None:
    skip, scale = SCALED[case]
    alone = [until_end(naive(model, prompt, skip, CAP, scale=scale)) for prompt in make_prompts()]
    outputs = say(skip=frozenset(skip), scale=scale, width=3)
    assert [o.tokens for o in outputs] == [alone[row] for row in ROWS]
    assert outputs != say(skip=frozenset(skip), width=3)


def test_sets_may_grow_and_scale(
    model: torch.nn.Module, say: Callable[..., list[Generated]], naive: Callable[..., list[int]]
) -> None:
    later, scale = {3: {1, 2}}, {1: 0.8, 2: 1.5}
    alone = [until_end(naive(model, prompt, since({1}, later), CAP, scale=scale)) for prompt in make_prompts()]
    outputs = say(skip=frozenset({1}), later=frozen(later), scale=scale, width=2)
    assert [o.tokens for o in outputs] == [alone[row] for row in ROWS]


def test_factors_of_kept_sublayers_and_factors_of_one_do_nothing(say: Callable[..., list[Generated]]) -> None:
    plain = say(skip=frozenset({1, 4}))
    assert say(skip=frozenset({1, 4}), scale={1: 1.0, 4: 1.0}) == plain
    assert say(skip=frozenset({1, 4}), scale={0: 2.0, 3: 0.5}) == plain

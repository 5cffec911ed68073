"""The element-wise pieces: what they compute, and that their compiled form serves every skip set."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from litestage.model import glue
from litestage.model.decode import Rules, Trace, decode, prefill
from litestage.model.glue import EAGER, compiled
from litestage.model.sublayers import Decoder

CPU = torch.device("cpu")
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13, 14]]


def outputs(decoder: Decoder, skip: set[int], prompts: list[list[int]] = PROMPTS) -> list[list[int]]:
    filled = prefill(decoder, prompts, Trace())
    made = decode(decoder, filled, range(len(prompts)), Rules(6, (), frozenset(skip)), Trace())
    return [output.tokens for output in made]


def test_the_pieces_are_the_usual_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 2, 8, generator=generator), torch.rand(8, generator=generator)
    want = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight
    torch.testing.assert_close(EAGER.norm(x, weight, 1e-6), want)
    angle = torch.rand(3, 1, 4, generator=generator)
    cos, sin = angle.cos().repeat(1, 1, 2), torch.cat((-angle.sin(), angle.sin()), dim=-1)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(EAGER.rotate(x, cos, sin), torch.cat((pairs.real, pairs.imag), dim=-1))
    first, second = x[..., :4], x[..., 4:]
    torch.testing.assert_close(EAGER.gate(x), first * first.sigmoid() * second)


def test_a_search_over_many_skip_sets_compiles_nothing_anew(model: torch.nn.Module) -> None:
    torch.compiler.reset()
    plain, decoder = Decoder(model), Decoder(model, glue=compiled(CPU, backend="eager"))
    for skip in (set(), {0}):
        assert outputs(decoder, skip) == outputs(plain, skip)
    outputs(decoder, set(), PROMPTS[:1])
    before = counters["stats"]["unique_graphs"]
    for skip in ({1}, {2, 3}, {0, 5}, {4}, {0, 1, 2, 3, 4, 5}, {1, 3, 5}, {0, 2, 4}):
        assert outputs(decoder, skip) == outputs(plain, skip)
        assert outputs(decoder, skip, PROMPTS[:2]) == outputs(plain, skip, PROMPTS[:2])
    assert counters["stats"]["unique_graphs"] == before
    assert before > 0


def test_where_compiling_fails_the_eager_pieces_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no C++ compiler\nmuch more text")

    monkeypatch.setattr(glue.torch, "compile", lambda *_, **__: broken)
    with pytest.warns(UserWarning, match="does not work here, going on without: no C\\+\\+ compiler$"):
        assert compiled(CPU) is EAGER


@pytest.mark.slow
def test_the_real_compiler_gives_the_same_tokens(model: torch.nn.Module) -> None:
    torch.compiler.reset()
    assert outputs(Decoder(model, glue=compiled(CPU)), {1}) == outputs(Decoder(model), {1})

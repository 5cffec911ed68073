"""The head: the likeliest token through the shortlist is the one that all logits give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from litestage.model import head
from litestage.model.decode import Generated, Rules, Trace, decode, prefill
from litestage.model.head import CHUNK, Head, Shortlist, can_shorten, largest
from litestage.model.products import can_pack
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.seeding import uniforms

packs = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="this torch has no packed weights")


@pytest.mark.parametrize("size", [1, 7, CHUNK - 1, CHUNK, CHUNK + 1, 300, 5 * CHUNK, 10 * CHUNK + 32])
def test_thelargest_token_is_the_first_of_the_largest(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    spread = torch.randn(50, size, generator=generator)
    ties = torch.randint(-1, 2, (200, size), generator=generator).float()
    sparse = torch.full((100, size), -torch.inf)
    sparse.scatter_(1, torch.randint(0, size, (100, 3), generator=generator), 1.0)
    for logits in (spread, ties, sparse, torch.zeros(2, size), torch.full((2, size), -torch.inf)):
        assert torch.equal(largest(logits), logits.argmax(-1))
        assert largest(logits).tolist() == [row.index(max(row)) for row in logits.tolist()]


def draw(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def exact(weight: Tensor, x: Tensor) -> Tensor:
    """Logits in double precision."""
    return x.double() @ weight.double().T


@packs
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("rows", [1, 3, 16, 70])
def test_the_shortlist_names_the_token_of_the_largest_logit(
    rows: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "MANY", 1.0)
    with torch.inference_mode():
        for seed in range(10):
            weight = draw(40 * CHUNK, 24, seed)
            order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(seed))
            weight *= torch.linspace(0.1, 3, len(weight))[order, None]
            x = draw(rows, 24, 100 + seed) * scale
            assert torch.equal(Shortlist(weight).likeliest(x), exact(weight, x).argmax(1))


@packs
def test_logits_that_bf16_cannot_tell_apart_are_told_apart() -> None:
    """Rows that differ by less than bf16 keeps, the largest anywhere among them: without the bound it is missed."""
    missed = 0
    with torch.inference_mode():
        for seed in range(50):
            weight = 0.1 * draw(64 * CHUNK, 16, seed)
            base = draw(1, 16, 1000 + seed)
            places = torch.randperm(len(weight), generator=torch.Generator().manual_seed(seed))[:3]
            weight[places] = base + 1e-3 * draw(3, 16, 2000 + seed)
            x = base + 0.05 * draw(2, 16, 3000 + seed)
            want = exact(weight, x).argmax(1)
            assert torch.equal(Shortlist(weight).likeliest(x), want)
            missed += int((largest((x.bfloat16() @ weight.bfloat16().T).float()) != want).sum())
    assert missed > 10


@packs
def test_of_equal_logits_the_first_counts() -> None:
    weight = 0.1 * draw(64 * CHUNK, 16, 0)
    x = draw(1, 16, 1)
    weight[[70, 71, 700, 3000]] = x[0]
    with torch.inference_mode():
        assert int(Shortlist(weight).likeliest(x)[0]) == 70


@packs
@pytest.mark.parametrize("bad", [torch.nan, 0.0])
def test_where_the_bound_says_nothing_all_logits_decide(bad: float) -> None:
    """NaNs give no shortlist, and zeros one of all tokens."""
    weight, x = draw(64 * CHUNK, 16, 0), torch.full((2, 16), bad)
    module = nn.Linear(16, len(weight), bias=False)
    module.weight.data = weight
    made = Head(module, fuse=True, pack=True)
    with torch.inference_mode():
        made._shortlist = Shortlist(weight)
        assert made._shortlist.likeliest(x) is None
        assert torch.equal(made.likeliest(x), largest(made(x)))


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every head with a fitting vocabulary gets a shortlist, on every CPU that has packed weights."""
    monkeypatch.setattr(head, "LARGE", 0)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)


def test_which_heads_get_a_shortlist(monkeypatch: pytest.MonkeyPatch, any_size: None) -> None:
    good = nn.Linear(8, 2 * CHUNK, bias=False)
    assert can_shorten(good) is can_pack(good.weight)
    assert not can_shorten(nn.Linear(8, 2 * CHUNK + 1, bias=False))
    assert not can_shorten(nn.Linear(8, 2 * CHUNK))
    assert not can_shorten(nn.Linear(8, 2 * CHUNK, bias=False, dtype=torch.bfloat16))
    assert Head(good, fuse=True, pack=False)._shortlist is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert not can_shorten(good)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not can_shorten(good)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(head, "LARGE", good.weight.numel() + 1)
    assert not can_shorten(good)


def test_a_head_with_an_adapter_gets_none(make: Callable[..., nn.Module], any_size: None) -> None:
    model = make("llama", vocab_size=5 * CHUNK)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head"]))
    assert Decoder(wrapped, fuse=True, pack=True)._head._shortlist is None


@packs
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"exit": ExitRule(3, 0.05)},
        {"confident": True},
        {"temperature": 0.8, "draws": uniforms([("head", i) for i in range(9)], 15)},
    ],
    ids=["greedy", "exit", "confident", "sampled"],
)
def test_decoding_gives_the_same_with_and_without(
    make: Callable[..., nn.Module],
    any_size: None,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    settings: dict[str, object],
) -> None:
    model = make(architecture, vocab_size=5 * CHUNK)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(2, 5 * CHUNK, (n,), generator=generator).tolist() for n in (5, 17, 9, 30)]
    rules = Rules(15, (0,), frozenset({2, 5}), width=5, **settings)  # type: ignore[arg-type]
    asked = 0
    likeliest = Shortlist.likeliest

    def spy(self: Shortlist, x: Tensor) -> Tensor | None:
        nonlocal asked
        token = likeliest(self, x)
        asked += token is not None
        return token

    def run(decoder: Decoder) -> list[Generated]:
        return decode(decoder, prefill(decoder, prompts, Trace()), [0, 1, 2, 3, 2, 2, 0, 1, 3], rules, Trace())

    want = run(Decoder(model))
    monkeypatch.setattr(head, "MANY", 1.0)
    monkeypatch.setattr(Shortlist, "likeliest", spy)
    assert run(Decoder(model, fuse=True, pack=True)) == want
    assert bool(asked) is (not settings)

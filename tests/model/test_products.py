"""Joined and packed weights: the same numbers, and the model's own parameters stay usable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from litestage.model.decode import Generated, Rules, Trace, decode, prefill
from litestage.model.products import FEW, can_pack, product
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.seeding import uniforms

BATCHES = [1, 3, 4, 16, 50]
MODES = [(True, False), (True, True), (False, True)]
packs = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="this torch has no packed weights")


def draw_ids(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(2, 300, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits(decoder: Decoder, ids: Tensor) -> Tensor:
    """Of every token; the first comes in one piece per row, the others step by step."""
    cache, out = decoder.new_cache(len(ids)), []
    with torch.inference_mode():
        out.append(decoder.logits(decoder.hidden(ids[:, 0], [1] * len(ids), cache)))
        out += [decoder.logits(decoder.hidden(column, None, cache)) for column in ids[:, 1:].unbind(1)]
    return torch.stack(out, dim=1)


def layers(*widths: int, bias: bool, dtype: torch.dtype = torch.float32) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(24, width, bias=bias, dtype=dtype) for width in widths]


def shared(*modules: nn.Linear) -> bool:
    """Whether the weights lie in one piece of memory."""
    return len({module.weight.untyped_storage().data_ptr() for module in modules}) == 1


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(8, 16, 16), (40,)])
@pytest.mark.parametrize(("fuse", "pack"), [*MODES, (False, False)])
def test_outputs_stand_side_by_side(widths: tuple[int, ...], bias: bool, fuse: bool, pack: bool, rows: int) -> None:
    modules = layers(*widths, bias=bias)
    x = torch.randn(rows, 24, generator=torch.Generator().manual_seed(rows))
    with torch.inference_mode():
        want = torch.cat([module(x) for module in modules], dim=-1)
        torch.testing.assert_close(product(modules, fuse, pack)(x), want, rtol=1e-5, atol=1e-5)


def test_joined_weights_are_the_parameters_themselves() -> None:
    modules = layers(8, 16, bias=True)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    values = [parameter.detach().clone() for parameter in parameters]
    joined = product(modules, fuse=True, pack=False)
    assert shared(*modules)
    again = [parameter for module in modules for parameter in module.parameters()]
    assert all(a is b for a, b in zip(parameters, again, strict=True))
    assert all(torch.equal(parameter, value) for parameter, value in zip(parameters, values, strict=True))
    with torch.inference_mode():
        modules[1].weight.zero_()
        out = joined(torch.ones(2, 24))
    assert torch.equal(out[:, 8:], modules[1].bias.expand(2, 16))
    assert not torch.equal(out[:, :8], modules[0].bias.expand(2, 8))


@packs
def test_packed_weights_serve_from_few_rows_on() -> None:
    """They are a copy, so a change of the weights shows which of the two was used."""
    modules = layers(8, bias=False)
    packed = product(modules, fuse=True, pack=True)
    with torch.inference_mode():
        modules[0].weight.zero_()
        assert not packed(torch.ones(FEW - 1, 24)).any()
        assert packed(torch.ones(FEW, 24)).all()


def test_half_precision_is_not_packed() -> None:
    modules = layers(8, 16, bias=True, dtype=torch.bfloat16)
    assert not can_pack(modules[0].weight)
    x = torch.randn(16, 24).bfloat16()
    joined, packed = product(modules, fuse=True, pack=False), product(modules, fuse=True, pack=True)
    with torch.inference_mode():
        assert torch.equal(packed(x), joined(x))
        modules[0].weight.zero_()  # no copy was made
        assert torch.equal(packed(x)[:, :8], modules[0].bias.expand(16, 8))


def test_a_half_precision_decoder_may_ask_for_packing(model: torch.nn.Module) -> None:
    half = model.bfloat16()
    ids = draw_ids(16, 3)
    joined = logits(Decoder(copy.deepcopy(half), fuse=True), ids)
    assert torch.equal(logits(Decoder(half, fuse=True, pack=True), ids), joined)


@pytest.mark.parametrize("pack", [False, True])
def test_the_model_works_as_before(model: torch.nn.Module, pack: bool) -> None:
    ids = draw_ids(3, 20)
    with torch.inference_mode():
        want, state = model(ids).logits, {name: value.clone() for name, value in model.state_dict().items()}
        Decoder(model, fuse=True, pack=pack)
        assert torch.equal(model(ids).logits, want)
    for block in model.model.layers:
        assert shared(block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
        assert shared(block.mlp.gate_proj, block.mlp.up_proj)
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], value) for name, value in state.items())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
def test_a_fused_model_can_be_saved(
    make: Callable[..., torch.nn.Module], architecture: str, tied: bool, tmp_path: Path
) -> None:
    model, ids = make(architecture, tie_word_embeddings=tied), draw_ids(2, 12)
    with torch.inference_mode():
        want = model(ids).logits
    Decoder(model, fuse=True, pack=True)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, want)


@pytest.mark.parametrize(("fuse", "pack"), MODES)
@pytest.mark.parametrize("rows", BATCHES)
def test_logits_are_the_same(model: torch.nn.Module, rows: int, fuse: bool, pack: bool) -> None:
    ids = draw_ids(rows, 4)
    want = logits(Decoder(copy.deepcopy(model)), ids)
    torch.testing.assert_close(logits(Decoder(model, fuse, pack), ids), want, rtol=1e-5, atol=1e-5)


def test_layers_with_adapters_stay_apart_and_count(model: torch.nn.Module) -> None:
    ids = draw_ids(5, 6)
    plain = logits(Decoder(copy.deepcopy(model)), ids)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"])).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.2, generator=generator)
    decoder = Decoder(wrapped, fuse=True, pack=True)
    for block in decoder.blocks:
        attn = block.self_attn
        assert not shared(attn.q_proj.base_layer, attn.k_proj)
        assert not shared(attn.k_proj, attn.v_proj)
        assert shared(block.mlp.gate_proj, block.mlp.up_proj)
    with torch.inference_mode():
        want = wrapped(ids).logits
    got = logits(decoder, ids)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(got, plain, atol=0.1)


SAMPLED = {"temperature": 0.9, "draws": uniforms([("fused", i) for i in range(9)], 15)}


@pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize(("fuse", "pack"), MODES)
def test_decoding_gives_the_same_tokens(
    model: torch.nn.Module, fuse: bool, pack: bool, settings: dict[str, object]
) -> None:
    ids = draw_ids(6, 30)
    prompts = [ids[i, : 5 + 4 * i].tolist() for i in range(6)]
    rules = Rules(15, (0,), frozenset({2, 5}), ExitRule(4, 0.1), **settings)  # type: ignore[arg-type]

    def run(decoder: Decoder) -> list[Generated]:
        return decode(decoder, prefill(decoder, prompts, Trace()), [0, 1, 2, 3, 4, 5, 2, 2, 0], rules, Trace())

    want = run(Decoder(copy.deepcopy(model)))
    assert run(Decoder(model, fuse, pack)) == want

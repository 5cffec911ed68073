"""The view of a decoder as sub-layers, against the transformers model it borrows from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from litestage.model.cache import KVCache
from litestage.model.decode import Rules, Trace, decode, prefill
from litestage.model.sublayers import ARCHITECTURES, Decoder, base_model
from litestage.plan import ExitRule

VOCABULARY = 300
SMALL = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8}


def draw_ids(length: int, seed: int = 0, rows: int = 1) -> Tensor:
    return torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def hidden(decoder: Decoder, ids: Tensor, **options: object) -> Tensor:
    """The residual stream `[B, T, C]` of texts of one length."""
    rows, length = ids.shape
    with torch.inference_mode():
        x = decoder.hidden(ids.flatten(), [length] * rows, decoder.new_cache(rows), **options)
    return x.view(rows, length, -1)


def logits(decoder: Decoder, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return decoder.logits(hidden(decoder, ids))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_logits_equal_those_of_the_model(model: torch.nn.Module) -> None:
    ids = draw_ids(30, rows=2)
    with torch.inference_mode():
        close(logits(Decoder(model), ids), model(ids).logits)


def test_tokens_may_come_in_pieces(model: torch.nn.Module) -> None:
    decoder, ids = Decoder(model), draw_ids(25, rows=2)
    cache, pieces = decoder.new_cache(2, 7), []
    with torch.inference_mode():
        for start, end in ((0, 9), (9, 10), (10, 25)):
            piece = decoder.hidden(ids[:, start:end].flatten(), [end - start] * 2, cache)
            pieces.append(piece.view(2, end - start, -1))
    close(torch.cat(pieces, 1), hidden(decoder, ids))


def test_a_token_for_each_row_needs_no_counts(model: torch.nn.Module) -> None:
    decoder, ids = Decoder(model), draw_ids(12, rows=3)
    cache = decoder.new_cache(3)
    with torch.inference_mode():
        steps = [decoder.hidden(column, None, cache) for column in ids.unbind(1)]
    close(torch.stack(steps, 1), hidden(decoder, ids))


def test_rows_of_different_lengths_are_not_seen_by_each_other(model: torch.nn.Module) -> None:
    """Also when a row gets nothing for a while."""
    decoder, texts = Decoder(model), [draw_ids(n, seed=n)[0] for n in (20, 7, 29)]
    cache = decoder.new_cache(3)
    found: list[list[Tensor]] = [[], [], []]
    at = [0, 0, 0]
    for counts in ([8, 0, 1], [0, 7, 20], [1, 0, 1], [11, 0, 7]):
        pieces = [text[start : start + n] for text, start, n in zip(texts, at, counts, strict=True)]
        with torch.inference_mode():
            x = decoder.hidden(torch.cat(pieces), counts, cache)
        assert x.isfinite().all()
        for row, piece in enumerate(x.split(counts)):
            found[row].append(piece)
        at = [start + n for start, n in zip(at, counts, strict=True)]
    for text, pieces in zip(texts, found, strict=True):
        close(torch.cat(pieces), hidden(decoder, text[None])[0])


def test_a_trunk_is_what_came_before(model: torch.nn.Module) -> None:
    """Rows behind two shared beginnings, one of them empty, in pieces and step by step."""
    decoder, head, tails = Decoder(model), draw_ids(15, seed=8)[0], draw_ids(11, rows=3)
    trunk = decoder.new_cache(2)
    with torch.inference_mode():
        decoder.hidden(head, [15, 0], trunk)
        cache = KVCache(decoder.layout, 3, 0, trunk, [0, 1, 0])
        x = [decoder.hidden(tails[:, :6].flatten(), [6] * 3, cache).view(3, 6, -1)]
        x += [decoder.hidden(column, None, cache)[:, None] for column in tails[:, 6:].unbind(1)]
    for row, got in enumerate(torch.cat(x, 1)):
        text = tails[row] if row == 1 else torch.cat((head, tails[row]))
        close(got, hidden(decoder, text[None])[0, -11:])


def test_skipping_all_leaves_the_embedding_norm_and_head(model: torch.nn.Module) -> None:
    decoder, ids = Decoder(model), draw_ids(12)
    x = hidden(decoder, ids, skip=range(decoder.num_sublayers))
    with torch.inference_mode():
        assert torch.equal(x, model.model.embed_tokens(ids))
        close(decoder.logits(x), model.lm_head(model.model.norm(model.model.embed_tokens(ids))))


def test_each_sublayer_can_be_skipped(model: torch.nn.Module) -> None:
    decoder, ids = Decoder(model), draw_ids(15)
    for skipped in range(decoder.num_sublayers):
        block = model.model.layers[skipped // 2]
        module = block.mlp if skipped % 2 else block.self_attn

        def mute(module: torch.nn.Module, inputs: object, output: object) -> object:
            return (output[0] * 0, *output[1:]) if isinstance(output, tuple) else output * 0

        handle = module.register_forward_hook(mute)
        with torch.inference_mode():
            want = model(ids).logits
        handle.remove()
        with torch.inference_mode():
            close(decoder.logits(hidden(decoder, ids, skip={skipped})), want)


def test_the_observer_sees_the_residual_stream_of_every_kept_sublayer(model: torch.nn.Module) -> None:
    decoder, ids = Decoder(model), draw_ids(10)
    seen: list[tuple[int, Tensor, Tensor]] = []
    x = hidden(decoder, ids, skip={0, 3}, observe=lambda *event: seen.append(event))
    assert [event[0] for event in seen] == [1, 2, 4, 5]
    assert torch.equal(seen[0][1], decoder.embed(ids[0]))
    for (_, _, after), (_, before, _) in pairwise(seen):
        assert torch.equal(after, before)
    assert torch.equal(seen[-1][2], x[0])


def test_the_engine_equals_a_naive_reference_on_random_cases(
    model: torch.nn.Module, naive: Callable[..., list[int]]
) -> None:
    random, decoder, stops = Random(0), Decoder(model), set()
    for case in range(8):
        shared = draw_ids(random.randint(1, 30), seed=case)[0].tolist()
        cuts = [random.randint(0, len(shared)) for _ in range(3)]
        prompts = [shared[:n] + draw_ids(random.randint(1, 20), seed=100 + n)[0].tolist() for n in cuts]
        skip = set(random.sample(range(6), random.randint(0, 6))) if case else {0}
        rule = random.choice([None, ExitRule(random.randint(1, 4), random.choice([0.05, 0.1, 0.2]))])
        cap = random.randint(1, 9)
        filled = prefill(decoder, prompts, Trace())
        outputs = decode(decoder, filled, range(3), Rules(cap, (0,), frozenset(skip), rule), Trace())
        assert [o.tokens for o in outputs] == [naive(model, p, skip, cap, rule) for p in prompts]
        stops |= {o.stop for o in outputs}
    assert {"cap", "confidence"} <= stops


def test_the_window_of_mistral_matters(model: torch.nn.Module) -> None:
    ids, decoder = draw_ids(20), Decoder(model)
    if model.config.model_type != "mistral":
        assert set(decoder.windows) == {None}
        return
    assert set(decoder.windows) == {6}
    wide = copy.deepcopy(model)
    wide.config.sliding_window = None
    near, far = logits(decoder, ids), logits(Decoder(wide), ids)
    close(near[:, :6], far[:, :6])
    assert not torch.allclose(near[:, 6:], far[:, 6:], atol=0.1)
    with torch.inference_mode():
        close(far, wide(ids).logits)


def test_a_window_may_belong_to_some_blocks_only() -> None:
    torch.manual_seed(0)
    shape = {k: v for k, v in SMALL.items() if k != "head_dim"}
    config = Qwen2Config(
        **shape,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        use_sliding_window=True,
        sliding_window=5,
        max_window_layers=1,
        dtype="float32",
    )
    model, ids = Qwen2ForCausalLM(config).eval(), draw_ids(20)
    decoder = Decoder(model)
    assert decoder.windows == [None, 5, 5]
    with torch.inference_mode():
        close(logits(decoder, ids), model(ids).logits)


def test_adapters_stay_in_place_and_equal_the_merged_model(model: torch.nn.Module) -> None:
    ids = draw_ids(20)
    plain = logits(Decoder(model), ids)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"])).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.2, generator=generator)
    adapted = logits(Decoder(wrapped), ids)
    with torch.inference_mode():
        close(adapted, wrapped(ids).logits)
    assert base_model(wrapped) is model
    merged = wrapped.merge_and_unload()
    assert base_model(merged) is merged
    close(logits(Decoder(merged), ids), adapted)
    assert not torch.allclose(adapted, plain, atol=0.1)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma"])
def test_another_architecture_is_refused_and_the_known_ones_are_named(architecture: str) -> None:
    if architecture == "gpt2":
        other: torch.nn.Module = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2))
    else:
        shape = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 1, "num_hidden_layers": 1}
        other = GemmaForCausalLM(GemmaConfig(**shape))
    known = ", ".join(ARCHITECTURES)
    with pytest.raises(ValueError, match=f"architecture '{architecture}' is not supported; supported are {known}"):
        Decoder(other)


def test_another_activation_is_refused(model: torch.nn.Module) -> None:
    model.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="activation 'gelu' is not supported; the blocks must use 'silu'"):
        Decoder(model)


def test_the_decoder_knows_its_shape(model: torch.nn.Module) -> None:
    decoder = Decoder(model)
    assert (decoder.num_sublayers, decoder.context, decoder.kv_heads, decoder.groups) == (6, 256, 2, 2)
    assert (decoder.device, decoder.dtype) == (torch.device("cpu"), torch.float32)
    cache = decoder.new_cache(3, 5)
    assert list(cache.kv) == [0, 1, 2]
    assert {kv.shape for kv in cache.kv.values()} == {(2, 3, 2, 5, decoder.head_dim)}
    assert decoder.layout.token_bytes == 2 * 3 * 2 * decoder.head_dim * 4
    assert Decoder(model.bfloat16()).new_cache(1).kv[0].dtype == torch.bfloat16

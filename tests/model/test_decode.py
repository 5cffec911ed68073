"""The ground truths of the engine, in fp32, for every architecture."""

from __future__ import annotations

import pytest
import torch

from litestage.model import cache
from litestage.model.decode import Generated, Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.seeding import uniforms

EOS = (0,)
LENGTHS = (5, 17, 9, 30, 12)


def make_prompts(lengths: tuple[int, ...] = LENGTHS, seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in lengths]


def run(decoder: Decoder, prompts: list[list[int]], **rules: object) -> list[Generated]:
    settings = {"max_new_tokens": 20, "eos": EOS, **rules}
    trace = Trace()
    filled = prefill(decoder, prompts, trace)
    return decode(decoder, filled, range(len(prompts)), Rules(**settings), trace)


def naive(model: torch.nn.Module, prompt: list[int], skip: set[int], cap: int) -> list[int]:
    """Recompute everything at every step, without a cache: position by position, the prompt at full depth and the
    decoded positions without the skipped sub-layers. A skipped attention leaves no keys at decoded positions, so the
    later ones cannot be attended to there either; nobody asks, since it is skipped for all of them."""
    config, ids = model.config, list(prompt)
    window = config.sliding_window if config.model_type == "mistral" else None
    for _ in range(cap):
        n = len(ids)
        x = model.model.embed_tokens(torch.tensor([ids]))
        rope = model.model.rotary_emb(x, torch.arange(n)[None])
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        if window:
            mask &= torch.ones(n, n, dtype=torch.bool).triu(1 - window)
        bias = torch.zeros(n, n).masked_fill(~mask, -torch.inf)[None, None]
        decoded = (torch.arange(n) >= len(prompt))[None, :, None]
        for index, block in enumerate(model.model.layers):
            attended = x + block.self_attn(block.input_layernorm(x), position_embeddings=rope, attention_mask=bias)[0]
            x = torch.where(decoded & (2 * index in skip), x, attended)
            fed = x + block.mlp(block.post_attention_layernorm(x))
            x = torch.where(decoded & (2 * index + 1 in skip), x, fed)
        ids.append(int(model.lm_head(model.model.norm(x))[0, -1].argmax()))
        if ids[-1] in EOS:
            break
    return ids[len(prompt) :]


def test_empty_plan_equals_generate(model: torch.nn.Module) -> None:
    prompts = make_prompts()
    outputs = run(Decoder(model), prompts)
    for prompt, output in zip(prompts, outputs, strict=True):
        ids = torch.tensor([prompt])
        want = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        assert output.tokens == want[0, len(prompt) :].tolist()


def test_rows_stop_for_their_own_reasons(model: torch.nn.Module) -> None:
    free = run(Decoder(model), make_prompts())
    eos = (free[0].tokens[3], free[2].tokens[1])  # two rows now end early, the others run on
    ended = run(Decoder(model), make_prompts(), eos=eos)
    for before, after in zip(free, ended, strict=True):
        hits = [i for i, token in enumerate(before.tokens) if token in eos]
        assert after.tokens == before.tokens[: hits[0] + 1 if hits else None]
        assert after.stop == ("eos" if hits else "cap")
    assert {o.stop for o in ended} == {"eos", "cap"}


@pytest.mark.parametrize("skip", [set(), {3}, {1, 2, 5}])
def test_batch_composition_changes_no_token(model: torch.nn.Module, skip: set[int]) -> None:
    prompts, decoder = make_prompts(), Decoder(model)
    together = run(decoder, prompts, skip=frozenset(skip))
    alone = [run(decoder, [p], skip=frozenset(skip))[0] for p in prompts]
    backwards = run(decoder, prompts[::-1], skip=frozenset(skip))[::-1]
    assert together == alone == backwards


@pytest.mark.parametrize("skip", [{0}, {0, 3}, {1, 2, 4}, {0, 1, 2, 3, 4}])
def test_skipping_equals_naive_reference(model: torch.nn.Module, skip: set[int]) -> None:
    prompts = make_prompts()
    with torch.inference_mode():
        want = [naive(model, prompt, skip, 12) for prompt in prompts]
    assert [o.tokens for o in run(Decoder(model), prompts, skip=frozenset(skip), max_new_tokens=12)] == want


def test_skipping_everything_is_embedding_norm_head(model: torch.nn.Module) -> None:
    prompts = make_prompts()
    outputs = run(Decoder(model), prompts, skip=frozenset(range(6)))
    with torch.inference_mode():
        for output in outputs:
            for token, following in zip(output.tokens, output.tokens[1:], strict=False):
                logits = model.lm_head(model.model.norm(model.model.embed_tokens(torch.tensor(token))))
                assert following == int(logits.argmax())


def test_first_token_comes_from_full_depth(model: torch.nn.Module) -> None:
    prompts = make_prompts()
    full, none = run(Decoder(model), prompts), run(Decoder(model), prompts, skip=frozenset(range(6)))
    assert [o.tokens[0] for o in full] == [o.tokens[0] for o in none]


def test_prefix_reuse_changes_no_token_and_computes_each_once(model: torch.nn.Module) -> None:
    decoder, [head, a, b, tail] = Decoder(model), make_prompts((40, 25, 7, 9))
    prompts = [head + a + tail[:k] for k in (2, 5, 9)] + [head + b, head + b + tail]
    trace = Trace()
    asked = prefill(decoder, [head], trace)
    known = [asked.longest_prefix(p) for p in prompts]
    reused = prefill(decoder, prompts, trace, known)
    rules = Rules(20, EOS)
    outputs = decode(decoder, reused, range(5), rules, trace)
    assert outputs == [run(decoder, [p])[0] for p in prompts]
    fresh = Trace()
    prefill(decoder, prompts, fresh)
    assert trace.prefill_tokens < 0.5 * sum(map(len, prompts))
    assert abs(trace.prefill_tokens - fresh.prefill_tokens) <= 2  # a shared head costs once, known or not


def test_forks_of_one_prompt_leave_it_alone(model: torch.nn.Module) -> None:
    decoder, prompts, trace = Decoder(model), make_prompts((12, 20)), Trace()
    filled = prefill(decoder, prompts, trace)
    rules = Rules(10, EOS)
    first = decode(decoder, filled, [0, 1, 1, 0], rules, trace)
    assert first[0] == first[3]
    assert first[1] == first[2]
    assert decode(decoder, filled, [0, 1], rules, trace) == first[:2]


def test_the_last_residual_stream_of_a_prompt_gives_its_first_token(model: torch.nn.Module) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    filled = prefill(decoder, prompts, Trace())
    with torch.inference_mode():
        want = torch.stack([model(torch.tensor([p])).logits[0, -1] for p in prompts])
        torch.testing.assert_close(decoder.logits(filled.last), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [[2], [2, 3], [3], [0, 1, 2, 3], [2, 0, 3, 1]])
@pytest.mark.parametrize("width", [1, 64])
def test_prompts_that_share_nothing_go_on_without_those_that_do(
    model: torch.nn.Module, rows: list[int], width: int
) -> None:
    """The first two prompts share a beginning, the others have none; any of them may be the last in the batch."""
    decoder, [head, a, b, c, d] = Decoder(model), make_prompts((30, 4, 5, 9, 6))
    prompts = [head + a, head + b, c, d]
    free = [run(decoder, [p], max_new_tokens=9)[0].tokens for p in prompts]
    eos = (free[0][1], free[1][0])  # those with the shared beginning end first
    filled = prefill(decoder, prompts, Trace())
    outputs = decode(decoder, filled, rows, Rules(9, eos, width=width), Trace())
    assert outputs == [run(decoder, [prompts[row]], max_new_tokens=9, eos=eos)[0] for row in rows]


def test_early_exit_stops_when_the_mean_confidence_falls(model: torch.nn.Module) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    free, rule = run(decoder, prompts), ExitRule(window=3, threshold=0.4)
    outputs = run(decoder, prompts, exit=rule)
    for prompt, all_tokens, output in zip(prompts, free, outputs, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + all_tokens.tokens])).logits[0, len(prompt) - 1 : -1]
        confidence = logits.softmax(-1).amax(-1)
        means = [float(confidence[i - 2 : i + 1].mean()) for i in range(2, len(confidence))]
        cut = next((i + 3 for i, mean in enumerate(means) if mean < 0.4), None)
        assert output.tokens == all_tokens.tokens[:cut]
    assert "confidence" in {o.stop for o in outputs}


def test_sampling_depends_on_its_own_draws_alone(model: torch.nn.Module) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    draws = uniforms([("row", i) for i in range(5)], 20)
    together = run(decoder, prompts, temperature=0.7, draws=draws)
    alone = [run(decoder, [p], temperature=0.7, draws=draws[i : i + 1])[0] for i, p in enumerate(prompts)]
    assert together == alone
    assert together != run(decoder, prompts)


def test_sampling_follows_the_distribution(model: torch.nn.Module) -> None:
    decoder, [prompt] = Decoder(model), make_prompts((8,))
    trace, rows = Trace(), 4000
    filled = prefill(decoder, [prompt], trace)
    rules = Rules(1, EOS, temperature=3.0, draws=uniforms([("draw", i) for i in range(rows)], 1))
    drawn = torch.tensor([o.tokens[0] for o in decode(decoder, filled, [0] * rows, rules, trace)])
    with torch.inference_mode():
        want = (decoder.logits(filled.last)[0] / 3.0).softmax(-1)
    seen = torch.bincount(drawn, minlength=len(want)) / rows
    error = (want * (1 - want) / rows).sqrt()
    assert ((seen - want).abs() <= 5 * error + 1e-3).all()


def test_a_draw_of_zero_never_takes_an_impossible_token(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(model)
    filled, original = prefill(decoder, [[5, 6, 7]], Trace()), decoder.logits
    first_two = torch.tensor([0, 1])
    monkeypatch.setattr(decoder, "logits", lambda x: original(x).index_fill(-1, first_two, -torch.inf))
    rules = Rules(1, EOS, temperature=0.7, draws=torch.zeros(1, 1))
    assert decode(decoder, filled, [0], rules, Trace())[0].tokens == [2]


def test_a_prompt_longer_than_the_context_is_named(model: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="260 tokens, 5 too many for the model's context of 256"):
        prefill(Decoder(model), make_prompts((260,)), Trace())


def test_rows_stop_at_the_end_of_the_context(model: torch.nn.Module) -> None:
    long, short = run(Decoder(model), make_prompts((250, 5)))
    assert (len(long.tokens), long.stop) == (6, "cap")
    assert len(short.tokens) == 20


def test_the_trace_counts_rows_and_steps(model: torch.nn.Module) -> None:
    trace, decoder = Trace(), Decoder(model)
    filled = prefill(decoder, make_prompts((4, 6)), trace)
    decode(decoder, filled, [0, 1], Rules(5, EOS), trace)
    assert (trace.prefill_calls, trace.prefill_tokens) == (1, 10)
    assert sum(trace.steps.values()) == 4  # the prefill gives the first of five tokens


@pytest.mark.parametrize("skip", [set(), {0, 3}])
def test_confidences_are_those_of_the_steps_that_gave_the_tokens(model: torch.nn.Module, skip: set[int]) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    eos = (run(decoder, prompts, skip=frozenset(skip))[0].tokens[3],)
    outputs = run(decoder, prompts, skip=frozenset(skip), eos=eos, confident=True)
    assert {o.stop for o in outputs} == {"eos", "cap"}
    for prompt, output in zip(prompts, outputs, strict=True):
        filled = prefill(decoder, [prompt], Trace())
        read, rest = torch.tensor(output.tokens[:-1], dtype=torch.long), len(output.tokens) - 1
        with torch.inference_mode():
            behind = decoder.hidden(read, [rest], filled.cache.select([0]), skip) if rest else filled.last[:0]
            sure = decoder.logits(torch.cat((filled.last, behind))).softmax(-1).amax(-1)
        assert output.confidences == pytest.approx(sure.tolist(), abs=2e-5)
        assert output.confidences == [round(confidence, 6) for confidence in output.confidences]


@pytest.mark.parametrize("rule", [None, ExitRule(2, 0.1)])
def test_confidences_are_recorded_only_when_asked_for_and_change_nothing(
    model: torch.nn.Module, rule: ExitRule | None
) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    plain, asked = (run(decoder, prompts, exit=rule, confident=confident) for confident in (False, True))
    assert [(o.tokens, o.stop) for o in plain] == [(o.tokens, o.stop) for o in asked]
    assert {len(o.confidences) for o in plain} == {0}
    assert [len(o.confidences) for o in asked] == [len(o.tokens) for o in asked]


@pytest.mark.parametrize("spare", [20, 45, 10_000])
@pytest.mark.parametrize("settings", [{}, {"skip": frozenset({2, 5}), "exit": ExitRule(4, 0.1)}, {"width": 3}])
def test_beginnings_held_twice_change_nothing(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, spare: int, settings: dict[str, object]
) -> None:
    decoder, layout = Decoder(model), Decoder(model).layout
    one, two = make_prompts((20, 24), seed=3)
    prompts = [*(one + end for end in make_prompts((3, 1, 6))), *(two + end for end in make_prompts((2, 9))), two]

    def answer() -> tuple[list[Generated], int, Trace]:
        trace = Trace()
        first = prefill(decoder, [one, two], trace)
        filled = prefill(decoder, prompts, trace, [first.longest_prefix(prompt) for prompt in prompts])
        rules = Rules(12, EOS, **settings)  # type: ignore[arg-type]
        made = decode(decoder, filled, [0, 1, 1, 2, 3, 4, 4, 4, 5], rules, trace)
        return made, len(filled.cache.family), trace

    want, shared, work = answer()
    monkeypatch.setattr(cache, "SPARE", spare * layout.token_bytes // len(layout.layers))
    got, sharing, same = answer()
    assert got == want
    assert shared == len(prompts)
    assert (sharing == 0) is (spare == 10_000)
    assert same == work

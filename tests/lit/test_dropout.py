"""Sub-layers left out at random: against the engine that skips them, and the draws themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from litestage.config import DropoutSettings, LoraSettings
from litestage.lit.batches import Tokens, collate
from litestage.lit.dropout import SubLayerDropout
from litestage.model.load import attach_lora
from litestage.model.sublayers import Decoder

PAD = 9  # not that of the model: its embedding is zero, as if a sub-layer were missing
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_ids(length: int, seed: int) -> list[int]:
    return torch.randint(2, 300, (length,), generator=seeded(seed)).tolist()


def example(prompt: list[int], output: int, stage: int) -> Tokens:
    """A stage with `output` random tokens behind a prompt, and the end token."""
    return Tokens([*prompt, *draw_ids(output, 50 + stage), 0], len(prompt), stage)


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits


def muted(model: Any, batch: dict[str, Tensor], settings: DropoutSettings, rate: float | None = None) -> Tensor:
    """Logits inside `drawn`."""
    dropout = SubLayerDropout(model, settings)
    with dropout.drawn(batch["decoded"], settings.rate if rate is None else rate, seeded()):
        return logits(model, batch)


def decoded_by_the_engine(model: Any, tokens: Tokens, skip: set[int]) -> Tensor:
    """Logits of all tokens of an example: its prompt at full depth, then its output without the skipped sub-layers."""
    decoder, cache = Decoder(model), Decoder(model).new_cache(1)
    prompt, output = torch.tensor(tokens.ids[:-1]).tensor_split([tokens.start])
    with torch.no_grad():
        x = [decoder.hidden(prompt, [len(prompt)], cache), decoder.hidden(output, [len(output)], cache, skip)]
        return decoder.logits(torch.cat(x))


@pytest.mark.parametrize("left_out", [[2], [3], [0, 3, 4]])
def test_training_sees_what_decoding_will_skip(model: torch.nn.Module, left_out: list[int]) -> None:
    tokens = example(draw_ids(9, seed=0), 8, stage=0)
    batch = collate([[tokens]], PAD)
    found = muted(model, batch, DropoutSettings(rate=1.0, sublayers=left_out))[0]
    torch.testing.assert_close(found, decoded_by_the_engine(model, tokens, {*left_out}), **CLOSE)
    assert not torch.allclose(found[tokens.start :], logits(model, batch)[0, tokens.start :], atol=0.1)


def test_everything_may_be_left_out(model: torch.nn.Module) -> None:
    tokens = example(draw_ids(9, seed=0), 8, stage=0)
    found = muted(model, collate([[tokens]], PAD), DropoutSettings(rate=1.0))[0]
    torch.testing.assert_close(found, decoded_by_the_engine(model, tokens, set(range(6))), **CLOSE)


def test_adapters_change_nothing_about_it(make: Callable[..., torch.nn.Module]) -> None:
    batch, settings = collate([[example([5, 6, 7], 6, stage=0)]], PAD), DropoutSettings(rate=1.0, sublayers=[1])
    wrapped = attach_lora(make("llama"), LoraSettings(rank=2)).eval()  # adapters begin as nothing
    torch.testing.assert_close(muted(wrapped, batch, settings), muted(make("llama"), batch, settings), **CLOSE)


def watch(model: Any) -> dict[int, Tensor]:
    """Which tokens lost a sub-layer, bool `[B, T]` for each: its output is zero there."""
    lost: dict[int, Tensor] = {}

    def hook(sublayer: int, output: Any) -> None:
        lost[sublayer] = ((output[0] if isinstance(output, tuple) else output) == 0).all(-1)

    for index, block in enumerate(model.model.layers):
        for sublayer, module in ((2 * index, block.self_attn), (2 * index + 1, block.mlp)):
            module.register_forward_hook(lambda _, __, output, j=sublayer: hook(j, output))
    return lost


def test_each_stage_of_each_row_loses_sublayers_of_its_own_and_prompts_none(
    make: Callable[..., torch.nn.Module],
) -> None:
    model, heads = make("llama"), [draw_ids(length, seed=length) for length in (9, 5)]
    rows = [[example([*head, 7 + stage], 6, stage) for stage in (0, 1)] for head in heads]
    batch = collate(rows, PAD)
    dropout = SubLayerDropout(model, DropoutSettings())
    lost = watch(model)
    with dropout.drawn(batch["decoded"], 0.5, seeded(3)):
        found = logits(model, batch)
    sets = [[{j for j in lost if lost[j][b, t]} for t in range(found.shape[1])] for b in (0, 1)]
    drawn = []
    for b, row in enumerate(rows):
        decoded = batch["decoded"][b].tolist()
        assert all(not sets[b][t] for t, stage in enumerate(decoded) if stage < 0)
        for tokens in row:
            own = [t for t, stage in enumerate(decoded) if stage == tokens.stage]
            assert len(own) == 6
            assert all(sets[b][t] == sets[b][own[0]] for t in own)
            drawn.append(sets[b][own[0]])
            wanted = decoded_by_the_engine(model, tokens, drawn[-1])[tokens.start :]
            torch.testing.assert_close(found[b, own], wanted, **CLOSE)
    assert len({frozenset(skip) for skip in drawn} - {frozenset()}) == 4


@pytest.mark.parametrize("settings", [DropoutSettings(), DropoutSettings(order="nested", sublayers=[4, 1, 3])])
def test_nothing_changes_outside_and_at_rate_0(model: torch.nn.Module, settings: DropoutSettings) -> None:
    batch = collate([[example([5, 6, 7], 6, stage) for stage in (0, 1)]], PAD)
    before = logits(model, batch)
    assert torch.equal(muted(model, batch, settings, rate=0.0), before)
    assert not torch.equal(muted(model, batch, settings, rate=0.5), before)
    assert torch.equal(logits(model, batch), before)


def test_an_exception_ends_it(model: torch.nn.Module) -> None:
    batch = collate([[example([5, 6, 7], 6, stage=0)]], PAD)
    before = logits(model, batch)
    dropout = SubLayerDropout(model, DropoutSettings())

    def interrupted() -> None:
        with dropout.drawn(batch["decoded"], 1.0, seeded()):
            assert not torch.equal(logits(model, batch), before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.equal(logits(model, batch), before)


def test_a_batch_of_exercises_loses_nothing(make: Callable[..., torch.nn.Module]) -> None:
    model, batch = make("llama"), collate([[example([5, 6, 7], 6, stage=-1)]], PAD)
    assert torch.equal(muted(model, batch, DropoutSettings(), rate=1.0), logits(model, batch))


@pytest.fixture
def choose(make: Callable[..., torch.nn.Module]) -> Callable[..., Tensor]:
    """4000 draws, of a model with six sub-layers."""

    def chosen(settings: DropoutSettings, seed: int = 0) -> Tensor:
        return SubLayerDropout(make("llama"), settings).choose(4000, settings.rate, seeded(seed))

    return chosen


@pytest.mark.parametrize("listed", [None, [4, 1]])
@pytest.mark.parametrize("rate", [0.2, 0.7, 1.0])
def test_random_draws_hit_each_listed_sublayer_for_itself(
    choose: Callable[..., Tensor], listed: list[int] | None, rate: float
) -> None:
    left_out = choose(DropoutSettings(rate=rate, sublayers=listed)).float()
    shares = left_out.mean(1).tolist()
    for sublayer in range(6):
        hit = listed is None or sublayer in listed
        assert shares[sublayer] == (pytest.approx(rate, abs=0.03) if hit else 0.0)
    both = (left_out[1] * left_out[4]).mean()
    assert float(both) == pytest.approx(rate**2, abs=0.03)


@pytest.mark.parametrize(("rate", "most"), [(0.125, 1), (0.25, 2), (0.5, 4)])
def test_nested_draws_are_beginnings_of_every_length(choose: Callable[..., Tensor], rate: float, most: int) -> None:
    order = [4, 1, 3, 0]
    left_out = choose(DropoutSettings(rate=rate, order="nested", sublayers=order))
    sizes = left_out.sum(0)
    for draw, size in zip(left_out.unbind(1), sizes.tolist(), strict=True):
        assert set(draw.nonzero()[:, 0].tolist()) == {*order[:size]}
    assert (sizes.bincount() / 4000).tolist() == pytest.approx([1 / (most + 1)] * (most + 1), abs=0.03)
    assert float(sizes.float().mean()) == pytest.approx(rate * len(order), abs=0.1)


@pytest.mark.parametrize("order", ["random", "nested"])
def test_draws_repeat_with_their_seed(choose: Callable[..., Tensor], order: Any) -> None:
    settings = DropoutSettings(order=order, sublayers=[4, 1, 3])
    torch.manual_seed(0)
    first = choose(settings, seed=1)
    torch.manual_seed(1)  # the global numbers have no part in it
    assert torch.equal(choose(settings, seed=1), first)
    assert not torch.equal(choose(settings, seed=2), first)


def test_the_rate_rises_evenly_then_stays(make: Callable[..., torch.nn.Module]) -> None:
    dropout = SubLayerDropout(make("llama"), DropoutSettings(rate=0.4, ramp=0.25))
    rates = [dropout.rate(step, 40) for step in range(41)]
    assert rates[:11] == pytest.approx([0.04 * step for step in range(11)])
    assert rates[10:] == [0.4] * 31


def test_without_a_ramp_the_rate_is_there_at_once(make: Callable[..., torch.nn.Module]) -> None:
    dropout = SubLayerDropout(make("llama"), DropoutSettings(rate=0.4, ramp=0.0))
    assert [dropout.rate(step, 40) for step in (0, 1, 40)] == [0.4] * 3


@pytest.mark.parametrize("wrong", [6, -1])
def test_a_sublayer_that_the_model_lacks_is_named(make: Callable[..., torch.nn.Module], wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"sublayers names \[{wrong}\]; this model has 0 to 5"):
        SubLayerDropout(make("llama"), DropoutSettings(sublayers=[0, wrong, 5]))

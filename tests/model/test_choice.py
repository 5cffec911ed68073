"""Which token comes next, and what is computed for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from litestage.model.choice import Choice, drawn
from litestage.model.sublayers import Decoder

OUTPUTS, STEPS = torch.tensor([0, 2, 1]), torch.tensor([3, 0, 1])


def draw_streams() -> Tensor:
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize(("temperature", "with_draws"), [(None, False), (None, True), (0.7, False), (0.7, True)])
def test_tokens_and_confidences_lie_where_they_belong(
    model: torch.nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float | None,
    with_draws: bool,
    confident: bool,
) -> None:
    decoder, x = Decoder(model), draw_streams()
    draws = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) if with_draws else None
    with torch.inference_mode():
        logits = decoder.logits(x)
        if temperature and draws is not None:
            want = drawn(logits / temperature, draws[OUTPUTS, STEPS])
            assert not torch.equal(want, logits.argmax(1))
        else:
            want = logits.argmax(1)
            if not confident:
                monkeypatch.setattr(decoder, "logits", None)  # the likeliest token does without
        choose = Choice(decoder, (3, 4), temperature, draws, confident)
        assert torch.equal(choose(x, OUTPUTS, STEPS), want)
    tokens = torch.zeros(4, 5, dtype=torch.long)
    tokens[OUTPUTS, STEPS] = want
    assert torch.equal(choose.tokens, tokens)
    sure = torch.zeros(4, 5)
    if confident:
        sure[OUTPUTS, STEPS] = logits.softmax(-1).amax(-1)
    torch.testing.assert_close(choose.confidences, sure)


def test_what_nobody_waits_for_may_be_drawn_too(model: torch.nn.Module) -> None:
    """Free slots work on an output behind the last."""
    choose = Choice(Decoder(model), (2, 4), 0.7, torch.rand(2, 4), False)
    with torch.inference_mode():
        assert choose(draw_streams(), torch.tensor([0, 2, 2]), torch.tensor([1, 0, 0])).shape == (3,)


@pytest.mark.parametrize(("draw", "token"), [(0.0, 1), (0.24, 1), (0.26, 2), (0.74, 2), (0.76, 4), (0.999, 4)])
def test_a_draw_falls_into_its_part_of_the_distribution(draw: float, token: int) -> None:
    logits = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]]).log()
    assert drawn(logits, torch.tensor([draw])).tolist() == [token]

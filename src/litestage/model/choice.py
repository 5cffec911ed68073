"""Which token comes next: the likeliest, or one drawn; and how sure the model was."""

from __future__ import annotations

import torch
from torch import Tensor

from litestage.model.exit import confidence_of
from litestage.model.head import largest
from litestage.model.sublayers import Decoder


class Choice:
    """Chooses the tokens of many outputs, and remembers them and, where wanted, their confidences.

    Args:
        decoder: has the head.
        shape: outputs, tokens of each at most. One output more is for nobody: free slots work on it.
        temperature: of drawn tokens; `None` is greedy.
        draws: numbers of that shape in [0, 1) that tokens are drawn with.
        confident: whether confidences are wanted. They need all logits, the likeliest token alone does not.
    """

    def __init__(
        self, decoder: Decoder, shape: tuple[int, int], temperature: float | None, draws: Tensor | None, confident: bool
    ) -> None:
        outputs, tokens = shape
        self.decoder, self.confident = decoder, confident
        self.temperature = 1.0 if temperature is None else temperature
        self.draws = None
        if temperature is not None and draws is not None:
            self.draws = torch.cat((draws, draws[:1])).to(decoder.device)
        self.tokens = torch.zeros(outputs + 1, tokens + 1, dtype=torch.long, device=decoder.device)
        """Chosen so far, `[outputs + 1, tokens + 1]`."""
        self.confidences = torch.zeros(self.tokens.shape, device=decoder.device)
        """Of the same tokens, where wanted."""

    def __call__(self, x: Tensor, outputs: Tensor, steps: Tensor) -> Tensor:
        """The next tokens `[B]` of residual streams `[B, C]`: token `steps[i]` of output `outputs[i]`."""
        if self.draws is None and not self.confident:
            token = self.decoder.likeliest(x)
        else:
            logits = self.decoder.logits(x)
            if self.confident:
                self.confidences[outputs, steps] = confidence_of(logits)
            draws = self.draws
            token = largest(logits) if draws is None else drawn(logits / self.temperature, draws[outputs, steps])
        self.tokens[outputs, steps] = token
        return token


def drawn(logits: Tensor, draw: Tensor) -> Tensor:
    """The token of each row `[B]` whose cumulative probability passes `draw` `[B]`."""
    cumulative = logits.softmax(-1).cumsum(-1)
    passed = torch.searchsorted(cumulative, draw[:, None] * cumulative[:, -1:], right=True)
    return passed.squeeze(1).clamp(max=logits.shape[1] - 1)

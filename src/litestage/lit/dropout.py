"""Skip-aware fine-tuning: sub-layers are left out at random, so that decoding can do without them later.

What is left out mirrors what a plan skips: only tokens that a stage decodes lose a sub-layer, and a stage of a question
loses the same ones throughout. Its prompt stays at full depth; in packed rows that is only true of what no earlier
stage of the same row decodes, since a row holds every token once. (Layer dropout of whole sequences is LayerDrop, Fan
et al., arXiv 1909.11556; here it is confined to what the engine skips.)

    dropout = SubLayerDropout(model, settings)
    with dropout.drawn(batch["decoded"], rate, generator):
        loss = ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from litestage.config import DropoutSettings
from litestage.model.sublayers import base_model


class SubLayerDropout:
    """Hooks on the sub-layers of a model; they do nothing outside `drawn`.

    Raises:
        ValueError: `settings.sublayers` names one that the model does not have.
    """

    def __init__(self, model: nn.Module, settings: DropoutSettings) -> None:
        blocks = base_model(model).model.layers
        self.settings, self.count = settings, 2 * len(blocks)
        self.order = list(range(self.count)) if settings.sublayers is None else settings.sublayers
        wrong = [j for j in self.order if j not in range(self.count)]
        if wrong:
            raise ValueError(f"model.dropout.sublayers names {wrong}; this model has 0 to {self.count - 1}")
        self._keep: Tensor | None = None
        for index, block in enumerate(blocks):
            for sublayer, module in ((2 * index, block.self_attn), (2 * index + 1, block.mlp)):
                module.register_forward_hook(lambda _, __, output, j=sublayer: self._muted(j, output))

    def rate(self, step: int, steps: int) -> float:
        """The rate at a training step: rising over the first `ramp` of all `steps`."""
        rise = self.settings.ramp * steps
        return self.settings.rate * (min(1.0, step / rise) if rise else 1.0)

    @contextmanager
    def drawn(self, decoded: Tensor, rate: float, generator: torch.Generator) -> Iterator[None]:
        """Leave sub-layers out of forward passes over tokens whose stage is `decoded` `[B, T]` (-1: of none)."""
        stages = int(decoded.max()) + 1
        left_out = self.choose(len(decoded) * stages, rate, generator).view(self.count, len(decoded), stages)
        keep = torch.cat((torch.ones(self.count, len(decoded), 1), (~left_out).float()), dim=-1).to(decoded.device)
        self._keep = keep.gather(2, (decoded + 1).expand(self.count, -1, -1))
        try:
            yield
        finally:
            self._keep = None

    def choose(self, draws: int, rate: float, generator: torch.Generator) -> Tensor:
        """Which sub-layers each of `draws` loses, bool `[2L, draws]`."""
        size = len(self.order)
        if self.settings.order == "nested":
            numbers = torch.rand(draws, generator=generator) * (2 * rate * size + 1)
            chosen = torch.arange(size)[:, None] < numbers.floor().clamp(max=size)
        else:
            chosen = torch.rand(size, draws, generator=generator) < rate
        left_out = torch.zeros(self.count, draws, dtype=torch.bool)
        left_out[torch.tensor(self.order)] = chosen
        return left_out

    def _muted(self, sublayer: int, output: Any) -> Any:
        if self._keep is None:
            return output
        keep = self._keep[sublayer, :, :, None]
        if isinstance(output, tuple):
            return output[0] * keep.to(output[0].dtype), *output[1:]
        return output * keep.to(output.dtype)

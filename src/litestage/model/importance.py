"""How much each sub-layer changes the residual stream: the ranking that decides what is skipped first.

For a sub-layer with input x and output f(x), similarity = mean over prompts of the mean over prompt tokens of
cos(x + f(x), x), in fp32, at prefill (LiteStage, step 1; AdaSkip). High similarity = little change = skipped first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from litestage.model.sublayers import Decoder

FORMAT, VERSION = "litestage-importance", 1


@dataclass(frozen=True)
class Importance:
    """Similarity of every sub-layer per stage, `2L` numbers each, over `questions` questions."""

    model: str
    stages: Mapping[str, Sequence[float]]
    questions: int

    @property
    def similarity(self) -> list[float]:
        """Mean over the stages, every stage weighing the same."""
        columns = zip(*self.stages.values(), strict=True)
        return [sum(column) / len(self.stages) for column in columns]

    @property
    def order(self) -> list[int]:
        """All sub-layers, most skippable first; ties go to attention, then to the lower block."""
        similarity = self.similarity
        return sorted(range(len(similarity)), key=lambda j: (-similarity[j], j % 2, j))

    def to_json(self) -> dict[str, Any]:
        """The content of `importance.json`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "num_sublayers": len(self.similarity),
            "stages": {n: {"similarity": list(s), "questions": self.questions} for n, s in self.stages.items()},
            "similarity": self.similarity,
            "order": self.order,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "importance.json") -> Importance:
        """Read what `to_json` wrote. Raises `ValueError` naming `source`."""
        if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{source}: not a {FORMAT!r} file of version {VERSION}")
        try:
            stages = {name: stage["similarity"] for name, stage in data["stages"].items()}
            made = cls(data["model"], stages, min((s["questions"] for s in data["stages"].values()), default=0))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{source}: not an importance file: {error!r}") from error
        lengths = {name: len(values) for name, values in stages.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{source}: the stages must have one similarity per sub-layer each, found {lengths}")
        return made


@torch.inference_mode()
def prompt_similarity(decoder: Decoder, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Similarity of every sub-layer on every prompt, `[prompts, 2L]`, fp32: the mean over the prompt's tokens.

    Args:
        decoder: the model.
        prompts: token ids of one batch, any lengths.
    """
    counts = [len(p) for p in prompts]
    ids = torch.tensor([token for prompt in prompts for token in prompt], device=decoder.device)
    rows = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts)).to(decoder.device)
    means = torch.zeros(len(prompts), decoder.num_sublayers)

    def observe(sublayer: int, before: Tensor, after: Tensor) -> None:
        cosine = cosine_similarity(after.float(), before.float(), dim=-1)
        sums = torch.zeros(len(prompts), device=decoder.device).index_add_(0, rows, cosine)
        means[:, sublayer] = sums.cpu() / torch.tensor(counts)

    decoder.hidden(ids, counts, decoder.new_cache(len(prompts), max(counts)), observe=observe)
    return means

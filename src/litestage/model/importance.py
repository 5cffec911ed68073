"""How much each sub-layer changes the residual stream: the ranking that decides what is skipped first.

For a sub-layer with input x and output f(x), similarity = mean over prompts of the mean over prompt tokens of
cos(x + f(x), x), in fp32, at prefill (LiteStage, step 1; AdaSkip). High similarity = little change = skipped first.
The same pass measures what other methods need: norm ratios (AdaSkip's code) and similarities of blocks (ShortGPT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from litestage.model.sublayers import Decoder

FORMAT, VERSION = "litestage-importance", 1


@dataclass(frozen=True)
class Importance:
    """Similarity of every sub-layer per stage, `2L` numbers each, over `questions` questions.

    `ratios` (`2L` a stage) and `blocks` (`L` a stage) are empty in files from before they were measured.
    """

    model: str
    stages: Mapping[str, Sequence[float]]
    questions: int
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Norm of the residual stream after each sub-layer over that before it (AdaSkip's code scales by it)."""
    blocks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Cosine similarity of each block's input and output; 1 minus it is ShortGPT's block influence."""

    @property
    def similarity(self) -> list[float]:
        """Mean over the stages, every stage weighing the same."""
        return mean_of(self.stages)

    @property
    def order(self) -> list[int]:
        """All sub-layers, most skippable first; ties go to attention, then to the lower block."""
        similarity = self.similarity
        return sorted(range(len(similarity)), key=lambda j: (-similarity[j], j % 2, j))

    def to_json(self) -> dict[str, Any]:
        """The content of `importance.json`."""
        stages: dict[str, dict[str, Any]] = {}
        for name, similarity in self.stages.items():
            stages[name] = {"similarity": list(similarity), "questions": self.questions}
            for key, values in (("ratios", self.ratios), ("blocks", self.blocks)):
                stages[name] |= {key: list(values[name])} if name in values else {}
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "num_sublayers": len(self.similarity),
            "stages": stages,
            "similarity": self.similarity,
            "order": self.order,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "importance.json") -> Importance:
        """Read what `to_json` wrote. Raises `ValueError` naming `source`."""
        if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{source}: not a {FORMAT!r} file of version {VERSION}")
        try:
            parts = data["stages"].items()
            stages = {name: part["similarity"] for name, part in parts}
            ratios, blocks = ({n: part[key] for n, part in parts if key in part} for key in ("ratios", "blocks"))
            questions = min((part["questions"] for _, part in parts), default=0)
            made = cls(data["model"], stages, questions, ratios, blocks)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{source}: not an importance file: {error!r}") from error
        lengths = {name: len(values) for name, values in stages.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"{source}: the stages must have one similarity per sub-layer each, found {lengths}")
        return made


def mean_of(stages: Mapping[str, Sequence[float]]) -> list[float]:
    """Mean over the stages of each number, every stage weighing the same."""
    return [sum(column) / len(stages) for column in zip(*stages.values(), strict=True)]


class Measured(NamedTuple):
    """What one pass over some prompts shows, fp32; a row a prompt."""

    similarity: Tensor
    """Of every sub-layer's input and output, `[P, 2L]`: the mean over the prompt's tokens of their cosine."""
    ratios: Tensor
    """Norm of the residual stream after every sub-layer over that before it, `[P, 2L]`; all tokens make one vector, as
    in AdaSkip's code."""
    blocks: Tensor
    """Of every block's input and output, `[P, L]`: the mean over the prompt's tokens of their cosine (ShortGPT)."""


@torch.inference_mode()
def measure_prompts(decoder: Decoder, prompts: Sequence[Sequence[int]]) -> Measured:
    """How much sub-layers and blocks change the residual stream on every prompt.

    Args:
        decoder: the model.
        prompts: token ids of one batch, any lengths.
    """
    counts = [len(p) for p in prompts]
    ids = torch.tensor([token for prompt in prompts for token in prompt], device=decoder.device)
    rows = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts)).to(decoder.device)
    sizes = decoder.num_sublayers, decoder.num_sublayers, len(decoder.blocks)
    made = Measured(*(torch.zeros(len(prompts), size) for size in sizes))
    entered = torch.empty(0)  # what the current block began with

    def means(values: Tensor) -> Tensor:
        sums = torch.zeros(len(prompts), device=decoder.device).index_add_(0, rows, values)
        return sums.cpu() / torch.tensor(counts)

    def observe(sublayer: int, before: Tensor, after: Tensor) -> None:
        nonlocal entered
        block, is_ffn = divmod(sublayer, 2)
        before, after = before.float(), after.float()
        made.similarity[:, sublayer] = means(cosine_similarity(after, before, dim=-1))
        made.ratios[:, sublayer] = (means(after.square().sum(-1)) / means(before.square().sum(-1))).sqrt()
        if is_ffn:
            made.blocks[:, block] = means(cosine_similarity(after, entered, dim=-1))
        else:
            entered = before

    decoder.hidden(ids, counts, decoder.new_cache(len(prompts), max(counts)), observe=observe)
    return made

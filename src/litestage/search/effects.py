"""What skipping really does to a stage: the rise of the loss on the stage's own full-depth outputs.

The prompts are prefilled once. Then the output that full depth wrote is read again without some sub-layers, all tokens
in one pass, as decoding would have done one by one (teacher forcing): one pass a skip set, no generation.

    losses = StageLosses(engine, reuse, attempts, "analyze")
    losses.rise({4, 9})          # nats a token above full depth
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch.nn.functional import cross_entropy

from litestage.engine import Engine, encode
from litestage.model.decode import Prompts, Trace, prefill
from litestage.plan import StagePlan
from litestage.records import Attempt
from litestage.reuse import Reuse

TOKENS = 512
"""Tokens whose logits are held at a time."""


class StageLosses:
    """Teacher-forced losses of one stage.

    Args:
        engine: model, tokenizer, stages.
        reuse: holds the outputs of `attempts`.
        attempts: full-depth attempts on some questions.
        stage: which stage.
    """

    def __init__(self, engine: Engine, reuse: Reuse, attempts: Sequence[Attempt], stage: str) -> None:
        self.engine = engine
        settings = next(s for s in engine.reasoning.stages if s.name == stage)
        prompts = dict.fromkeys(o.prompt for a in attempts for o in a.outputs if o.stage == stage)
        known = {prompt: reuse.get(settings, StagePlan(), prompt) for prompt in prompts}
        # The first token comes from prefill; an output of one token has nothing that skipping could change.
        made = {prompt: output.tokens for prompt, output in known.items() if output and len(output.tokens) > 1}
        self.batches: list[tuple[Prompts, list[list[int]]]] = []
        size, names = engine.questions_at_once([]), list(made)
        for start in range(0, len(names), size):
            part = names[start : start + size]
            filled = prefill(engine.decoder, encode(engine.tokenizer, part), Trace())
            self.batches.append((filled, [made[prompt] for prompt in part]))
        self.passes = 0
        self.full = self.loss(())

    @torch.inference_mode()
    def loss(self, skip: Collection[int]) -> float:
        """Mean loss a token, in nats, without the sub-layers in `skip`."""
        self.passes += 1
        total, count = 0.0, 0
        for prompts, outputs in self.batches:
            device = self.engine.decoder.device
            read = torch.tensor([token for tokens in outputs for token in tokens[:-1]], device=device)
            said = torch.tensor([token for tokens in outputs for token in tokens[1:]], device=device)
            cache = prompts.cache.select(range(len(outputs)))
            hidden = self.engine.decoder.hidden(read, [len(tokens) - 1 for tokens in outputs], cache, skip)
            for part, labels in zip(hidden.split(TOKENS), said.split(TOKENS), strict=True):
                total += float(cross_entropy(self.engine.decoder.logits(part), labels, reduction="sum"))
            count += len(said)
        return total / max(count, 1)

    def rise(self, skip: Collection[int]) -> float:
        """How far the loss rises above full depth."""
        return self.loss(skip) - self.full


def greedy_order(
    rise: Callable[[Collection[int]], float], singles: Sequence[float], depth: int, saved: Sequence[float]
) -> list[int]:
    """Sub-layers in the order in which leaving them out, each beside those before it, costs least a second saved.

    Only the most promising ones are measured again at every step, until the best of them has just been measured
    (lazy greedy); the part behind `depth` follows single rises. Ties go to attention, then to the lower block.

    Args:
        rise: effect of a skip set.
        singles: effect of every sub-layer alone.
        depth: how many are built up.
        saved: seconds (or any weights) that each saves.
    """
    order: list[int] = []
    base = 0.0
    known = list(singles)
    while len(order) < min(depth, len(singles)):
        fresh: dict[int, float] = {}
        while True:
            left = [j for j in range(len(singles)) if j not in order]
            best = min(left, key=lambda j: (worth(known[j], saved[j]), j % 2, j))
            if best in fresh or not order:
                break
            fresh[best] = rise({*order, best})
            known[best] = fresh[best] - base
        base = fresh.get(best, singles[best])
        order.append(best)
    return order + sorted(set(range(len(singles))) - {*order}, key=lambda j: (worth(singles[j], saved[j]), j % 2, j))


def worth(effect: float, saved: float) -> float:
    """Harm a second saved; what is as good as harmless goes by what it saves."""
    return max(effect, HARMLESS) / saved


HARMLESS = 1e-4
"""Effects below this are noise."""

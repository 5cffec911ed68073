"""What skipping really does to a stage: the rise of the loss on the stage's own full-depth outputs.

The prompts are prefilled once. Then the output that full depth wrote is read again without some sub-layers, all tokens
in one pass, as decoding would have done one by one (teacher forcing): one pass a skip set, no generation.

    losses = StageLosses(engine, reuse, attempts, "analyze")
    losses.rise({4, 9})          # nats a token above full depth
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from litestage.engine import Engine, encode
from litestage.model.decode import Prompts, Trace, prefill
from litestage.plan import StagePlan
from litestage.records import Attempt
from litestage.reuse import Reuse

FULL_DEPTH = StagePlan()
TOKENS = 512
"""Tokens whose logits are held at a time."""


class StageLosses:
    """Teacher-forced losses of one stage.

    Args:
        engine: model, tokenizer, stages.
        reuse: holds the outputs of `attempts`.
        attempts: full-depth attempts on some questions, or those of another plan.
        stage: which stage.
        plan: the stage's part of that plan.
    """

    def __init__(
        self, engine: Engine, reuse: Reuse, attempts: Sequence[Attempt], stage: str, plan: StagePlan = FULL_DEPTH
    ) -> None:
        self.engine, self.plan = engine, plan
        settings = next(s for s in engine.reasoning.stages if s.name == stage)
        prompts = dict.fromkeys(o.prompt for a in attempts for o in a.outputs if o.stage == stage)
        known = {prompt: reuse.get(settings, plan, prompt) for prompt in prompts}
        # The first token comes from prefill; an output of one token has nothing that skipping could change.
        made = {prompt: output.tokens for prompt, output in known.items() if output and len(output.tokens) > 1}
        self.names = list(made)
        self.batches: list[tuple[Prompts, list[list[int]]]] = []
        size, names = engine.questions_at_once([]), self.names
        for start in range(0, len(names), size):
            part = names[start : start + size]
            filled = prefill(engine.decoder, encode(engine.tokenizer, part), Trace())
            self.batches.append((filled, [made[prompt] for prompt in part]))
        self.passes = 0

    @cached_property
    def full(self) -> float:
        """The loss at full depth."""
        return self.loss(())

    @torch.inference_mode()
    def loss(self, skip: Collection[int]) -> float:
        """Mean loss a token, in nats, without the sub-layers in `skip`."""
        self.passes += 1
        total, count = 0.0, 0
        for hidden, outputs, _ in self._read(skip):
            said = torch.tensor([token for tokens in outputs for token in tokens[1:]], device=hidden.device)
            for logits, labels in zip(self._logits(hidden), said.split(TOKENS), strict=True):
                total += float(cross_entropy(logits, labels, reduction="sum"))
            count += len(said)
        return total / max(count, 1)

    @torch.inference_mode()
    def entropies(self) -> dict[str, list[float]]:
        """Prompt -> the entropy, in nats, of what each token of its output was chosen from, under the stage's plan."""
        found: list[list[float]] = []
        for hidden, outputs, prompts in self._read(self.plan.skip):
            first = _entropy(self.engine.decoder.logits(prompts.last))
            later = chain.from_iterable(_entropy(logits) for logits in self._logits(hidden))
            found += [[start, *(next(later) for _ in tokens[1:])] for start, tokens in zip(first, outputs, strict=True)]
        return dict(zip(self.names, found, strict=True))

    def _read(self, skip: Collection[int]) -> Iterator[tuple[Tensor, list[list[int]], Prompts]]:
        """Batch by batch the residual stream `[N, C]` that tokens 1, 2, ... of each output were chosen from."""
        for prompts, outputs in self.batches:
            read = [token for tokens in outputs for token in tokens[:-1]]
            cache = prompts.cache.select(range(len(outputs)))
            ids = torch.tensor(read, device=self.engine.decoder.device)
            hidden = self.engine.decoder.hidden(ids, [len(tokens) - 1 for tokens in outputs], cache, skip)
            yield hidden, outputs, prompts

    def _logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """Logits of so many tokens at a time: of a whole batch they would take gigabytes."""
        return (self.engine.decoder.logits(part) for part in hidden.split(TOKENS))

    def rise(self, skip: Collection[int]) -> float:
        """How far the loss rises above full depth."""
        return self.loss(skip) - self.full


def _entropy(logits: Tensor) -> list[float]:
    """Entropy in nats of each row of `[N, V]`."""
    logs = logits.log_softmax(-1)
    values: list[float] = (-(logs.exp() * logs).sum(-1)).tolist()
    return values


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

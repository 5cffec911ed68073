"""What this machine reaches on plain work, and what a run of the engine needed at the least.

limits = ceilings(torch.float32)
Work(engine, result).least_seconds(limits)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from litestage.engine import Engine
from litestage.model.sublayers import Decoder
from litestage.pipeline import Result


@dataclass(frozen=True)
class Ceilings:
    """What this machine reaches on plain work: bytes read a second, floating-point operations a second."""

    read: float
    flops: float


def ceilings(dtype: torch.dtype) -> Ceilings:
    """Best of several sums over a large tensor and products of large matrices."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    large = torch.ones(2**28, device=device)
    square = torch.randn(3072, 3072, device=device, dtype=dtype)

    def best(work: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            work().reshape(-1)[0].item()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return Ceilings(large.numel() * 4 / best(large.sum), 2 * 3072**3 / best(lambda: square @ square))


class Work:
    """Bytes and operations of the weights that a run needed; attention over keys and values is left out.

    A decode step reads all kept weights once; a prefill call likewise. So the ceiling is an optimistic one.
    """

    def __init__(self, engine: Engine, result: Result) -> None:
        blocks = sum(p.numel() for block in engine.decoder.blocks for p in block.parameters())
        head = engine.decoder.head.weight.numel()
        size = engine.decoder.head.weight.element_size()
        traces = [usage.trace for usage in result.usage.values()]
        self.step_bytes = (blocks + head) * size
        self.steps: Counter[int] = sum((t.steps for t in traces), start=Counter())
        self.row_flops = 2 * (blocks + head)
        self.prefill_flops = 2 * blocks * sum(t.prefill_tokens for t in traces)
        self.prefill_bytes = blocks * size * sum(t.prefill_calls for t in traces)
        self.decode_bytes = self.step_bytes * sum(self.steps.values())
        self.decode_flops = self.row_flops * sum(rows * n for rows, n in self.steps.items())

    @staticmethod
    def weights(decoder: Decoder) -> int:
        """Bytes of blocks and head; an embedding that is not the head's comes on top."""
        parts = [p for block in decoder.blocks for p in block.parameters()] + [decoder.head.weight]
        if decoder.embed.weight is not decoder.head.weight:
            parts.append(decoder.embed.weight)
        return sum(p.numel() * p.element_size() for p in parts)

    def least_seconds(self, limits: Ceilings) -> float:
        """Seconds at the ceilings: each step and each prefill as slow as its slower resource allows."""
        decode = sum(
            n * max(self.step_bytes / limits.read, rows * self.row_flops / limits.flops)
            for rows, n in self.steps.items()
        )
        return decode + max(self.prefill_bytes / limits.read, self.prefill_flops / limits.flops)

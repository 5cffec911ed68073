"""Wall-clock seconds of work that may run on an accelerator, and how to sum repeats up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch


@dataclass
class Stopwatch:
    """Seconds added up over the `measure` blocks it was handed to."""

    seconds: float = 0.0


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it; nothing to wait for on a CPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def measure(watch: Stopwatch, device: torch.device) -> Iterator[None]:
    """Add the seconds of the block to `watch`, the device's pending work included."""
    synchronize(device)
    start = time.perf_counter()
    try:
        yield
    finally:
        synchronize(device)
        watch.seconds += time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, low and high (least and greatest) of repeats."""
    return {"median": median(values), "low": min(values), "high": max(values)}

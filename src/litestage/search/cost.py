"""Seconds from counted work: wall clocks of single trials are too noisy to choose budgets by.

A decode step of r rows costs head(r) + kept attention x a(r) + kept feed-forward x f(r), and c(r) more where an exit
rule asks for confidences, which need all logits; prefill costs a constant per call, and per token a constant and so
much for each kept attention and feed-forward. All of it is calibrated once on the real engine, the fit's error is
reported.

    cost = calibrate(decoder, rows=64, prompt_tokens=100)
    cost.decode_seconds(usage.trace.steps, skip={0, 2}) + cost.prefill_seconds(usage.trace)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from litestage.model.decode import Rules, Trace, decode, prefill
from litestage.model.sublayers import Decoder
from litestage.seeding import generator_of
from litestage.timing import synchronize

STEPS = 8
"""Decode steps of one timing."""
PREFILL = ("call", "token", "attention", "ffn")
"""Parts of the cost of prefill."""
HALF = 3
"""Which of `_skip_sets` keeps half of each kind."""
REPEATS = 3
"""Timings of one point; their median counts."""
UNEVEN = 0.2
"""Relative error of a decode step, beyond which its batch size is timed again: the machine was disturbed."""
AGAIN = 2
"""How often, at most."""


@dataclass(frozen=True)
class CostModel:
    """Calibrated seconds.

    `rows[i]` has the coefficients `steps[i]` = (head, attention, feed-forward) seconds; between them they are
    interpolated. `confidence[i]` = seconds that confidences add to a step. `prefill` = seconds of a call, of a token,
    of a token's attention, of its feed-forward. `fit` holds relative errors.
    """

    num_sublayers: int
    rows: Sequence[int]
    steps: Sequence[tuple[float, float, float]]
    prefill: tuple[float, float, float, float]
    fit: Mapping[str, float]
    confidence: Sequence[float] = ()

    def step_seconds(self, rows: int, skip: Collection[int] = (), confident: bool = False) -> float:
        """One decode step of `rows` rows without the sub-layers in `skip`, with or without confidences."""
        _, attention, ffn = _kept(self.num_sublayers, skip)
        head, a, f = (float(np.interp(rows, self.rows, column)) for column in zip(*self.steps, strict=True))
        more = float(np.interp(rows, self.rows, self.confidence)) if confident and self.confidence else 0.0
        return head + more + attention * a + ffn * f

    def decode_seconds(self, steps: Mapping[int, float], skip: Collection[int] = (), confident: bool = False) -> float:
        """Seconds of counted decode steps (rows -> steps)."""
        return sum(count * self.step_seconds(rows, skip, confident) for rows, count in steps.items())

    def least_row_seconds(self, skip: Collection[int] = ()) -> float:
        """One row's part of a decode step in the batch size where that is least."""
        return min(self.step_seconds(rows, skip) / rows for rows in self.rows)

    def prefill_seconds(self, trace: Trace, skip: Collection[int] = ()) -> float:
        """Seconds of counted prefill without the sub-layers in `skip`."""
        call, *token = self.prefill
        each = sum(c * k for c, k in zip(token, _kept(self.num_sublayers, skip), strict=True))
        return call * trace.prefill_calls + each * trace.prefill_tokens

    def to_json(self) -> dict[str, Any]:
        """What the search profile keeps of it."""
        return {
            "num_sublayers": self.num_sublayers,
            "rows": list(self.rows),
            "step_seconds": {
                "head": [s[0] for s in self.steps],
                "attention": [s[1] for s in self.steps],
                "ffn": [s[2] for s in self.steps],
                "confidence": list(self.confidence),
            },
            "prefill_seconds": dict(zip(PREFILL, self.prefill, strict=True)),
            "fit": dict(self.fit),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CostModel:
        """Read what `to_json` wrote."""
        steps = list(zip(*(data["step_seconds"][part] for part in ("head", "attention", "ffn")), strict=True))
        call, token, attention, ffn = (data["prefill_seconds"][part] for part in PREFILL)
        confidence = data["step_seconds"].get("confidence", ())  # it once cost nothing
        return cls(data["num_sublayers"], data["rows"], steps, (call, token, attention, ffn), data["fit"], confidence)


def calibrate(
    decoder: Decoder, rows: int, prompt_tokens: int, progress: Callable[[int], None] | None = None
) -> CostModel:
    """Time the real engine at several batch sizes and skip sets, and fit the cost model.

    Args:
        decoder: the model, where and as it will run.
        rows: the largest batch that will be decoded.
        prompt_tokens: a typical prompt length.
        progress: called with 1 after each of the `len(row_grid(rows))` batch sizes.
    """
    skips = _skip_sets(decoder.num_sublayers)
    features = np.array([_kept(decoder.num_sublayers, skip) for skip in skips], dtype=float)
    grid = row_grid(rows)
    steps: list[tuple[float, float, float]] = []
    confidence: list[float] = []
    errors: list[float] = []
    calls: list[tuple[Sequence[int], float]] = []  # (features, seconds)
    for count in grid:
        prompts = _prompts(decoder, count, prompt_tokens)
        seconds = _step_seconds(decoder, prompts, skips)
        fitted, off = _fit_steps(features, seconds)
        for _ in range(AGAIN):
            if off.max() <= UNEVEN:
                break
            seconds = np.minimum(seconds, _step_seconds(decoder, prompts, skips))  # other work can only add to them
            fitted, off = _fit_steps(features, seconds)
        rules = Rules(STEPS + 1, eos=(), skip=frozenset(skips[HALF]), confident=True)
        confidence.append(max(0.0, _decode_seconds(decoder, prompts, rules) - float(seconds[HALF])))
        steps.append(fitted)
        errors += list(off)
        # Without attention, without feed-forward: once, in the middle; prefill of many long rows takes its time.
        kinds = skips[:3] if count == grid[len(grid) // 2] else skips[:1]
        for n, skip in ((8, skips[0]), *((prompt_tokens, skip) for skip in kinds)):
            tokens = count * n
            parts = [1, *(tokens * kept for kept in _kept(decoder.num_sublayers, skip))]
            calls.append((parts, _prefill_seconds(decoder, [p[:n] for p in prompts], skip)))
        if progress:
            progress(1)
    (call, token, attention, ffn), prefill_errors = _fit(calls)
    fit = {
        "points": len(errors) + len(calls),
        "decode_median_relative_error": float(median(errors)),
        "decode_max_relative_error": float(max(errors)),
        "prefill_median_relative_error": float(median(prefill_errors)),
    }
    return CostModel(decoder.num_sublayers, grid, steps, (call, token, attention, ffn), fit, confidence)


def row_grid(rows: int) -> list[int]:
    """The calibrated batch sizes: 1, 4, 16, ... and `rows`."""
    grid = [1]
    while grid[-1] * 4 < rows:
        grid.append(grid[-1] * 4)
    return grid + [rows] * (rows > grid[-1])


def _skip_sets(count: int) -> list[list[int]]:
    """Full depth, no attention, no feed-forward, and halves: enough to tell the three coefficients apart."""
    attention, ffn = list(range(0, count, 2)), list(range(1, count, 2))
    return [[], attention, ffn, attention[::2] + ffn[::2], attention[::2], ffn[::2]]


def _kept(count: int, skip: Collection[int]) -> tuple[int, int, int]:
    attention = count // 2 - sum(j % 2 == 0 for j in skip)
    return 1, attention, count - len(skip) - attention


def _prompts(decoder: Decoder, count: int, tokens: int) -> list[list[int]]:
    generator = generator_of("calibration", count)
    size = int(decoder.config.vocab_size)
    return [torch.randint(0, size, (tokens,), generator=generator).tolist() for _ in range(count)]


def _step_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], skips: Sequence[Sequence[int]]) -> np.ndarray:
    """Seconds of a decode step under every skip set."""
    rules = (Rules(STEPS + 1, eos=(), skip=frozenset(skip)) for skip in skips)
    return np.array([_decode_seconds(decoder, prompts, rule) for rule in rules])


def _fit_steps(features: np.ndarray, seconds: np.ndarray) -> tuple[tuple[float, float, float], np.ndarray]:
    """Seconds of head, attention and feed-forward, by least relative squares; and the relative errors."""
    fitted = np.linalg.lstsq(features / seconds[:, None], np.ones_like(seconds), rcond=None)[0].clip(min=0)
    head, attention, ffn = fitted.tolist()
    return (head, attention, ffn), np.abs(features @ fitted - seconds) / seconds


def _decode_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], rules: Rules) -> float:
    """Median seconds of one decode step."""
    filled = prefill(decoder, prompts, Trace())
    run = lambda: decode(decoder, filled, range(len(prompts)), rules, Trace())  # noqa: E731
    return _median_seconds(decoder, run) / STEPS


def _prefill_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], skip: Sequence[int]) -> float:
    return _median_seconds(decoder, lambda: prefill(decoder, prompts, Trace(), skip=skip))


def _median_seconds(decoder: Decoder, work: Callable[[], object]) -> float:
    work()  # warm-up
    seconds = []
    for _ in range(REPEATS):
        synchronize(decoder.device)
        start = time.perf_counter()
        work()
        synchronize(decoder.device)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _fit(points: Sequence[tuple[Sequence[int], float]]) -> tuple[list[float], list[float]]:
    """Coefficients, at least 0, of the least relative squares of seconds over features; and the relative errors."""
    x, y = np.array([p[0] for p in points], dtype=float), np.array([p[1] for p in points])
    fitted, used = np.zeros(x.shape[1]), np.ones(x.shape[1], dtype=bool)
    while used.any():  # a part that comes out negative is noise: the others are fitted without it
        fitted[used] = np.linalg.lstsq(x[:, used] / y[:, None], np.ones_like(y), rcond=None)[0]
        if (fitted >= 0).all():
            break
        used &= fitted > 0
        fitted[~used] = 0.0
    return fitted.tolist(), list(np.abs(x @ fitted - y) / y)

"""The exit watch against a list of confidences kept by hand."""

from __future__ import annotations

import pytest
import torch

from litestage.model.exit import ExitWatch, confidence_of, first_exit
from litestage.plan import ExitRule

CPU = torch.device("cpu")


def logits_of(confidences: list[float]) -> torch.Tensor:
    """Logits `[B, 3]` whose largest probability is the given one (at least 1/3)."""
    rest = [[p, (1 - p) / 2, (1 - p) / 2] for p in confidences]
    return torch.tensor(rest).clamp(min=1e-9).log() + 4.0


def sure(confidences: list[float]) -> torch.Tensor:
    return confidence_of(logits_of(confidences))


def test_no_row_stops_before_the_window_is_full() -> None:
    watch = ExitWatch(ExitRule(3, 0.9), 2, CPU)
    stops = [watch.update(sure([0.4, 0.95])).tolist() for _ in range(4)]
    assert stops == [[False, False], [False, False], [True, False], [True, False]]


def test_only_the_last_window_counts() -> None:
    watch = ExitWatch(ExitRule(2, 0.6), 1, CPU)
    stops = [bool(watch.update(sure([p]))) for p in (0.99, 0.4, 0.7, 0.45, 0.99)]
    # means of two: 0.695, 0.55, 0.575, 0.72
    assert stops == [False, False, True, True, False]


def test_a_mean_at_the_threshold_goes_on() -> None:
    watch = ExitWatch(ExitRule(1, 0.5), 1, CPU)
    assert not watch.update(confidence_of(torch.tensor([[2.0, 2.0]])))
    assert watch.update(confidence_of(torch.tensor([[2.0, 2.0, 2.0]])))


def test_rows_that_leave_take_their_memory_with_them() -> None:
    watch = ExitWatch(ExitRule(3, 0.6), 3, CPU)
    for confidences in ([0.4, 0.9, 0.5], [0.4, 0.9, 0.5]):
        watch.update(sure(confidences))
    watch.keep(torch.tensor([2, 1]))
    # means of the kept rows: (0.5 + 0.5 + 0.9) / 3 and (0.9 + 0.9 + 0.34) / 3
    assert watch.update(sure([0.9, 0.34])).tolist() == [False, False]
    assert watch.update(sure([0.34, 0.34])).tolist() == [True, True]


def test_a_row_that_restarts_forgets_and_the_others_go_on() -> None:
    watch = ExitWatch(ExitRule(3, 0.6), 3, CPU)
    watch.update(sure([0.4, 0.4, 0.9]))
    watch.update(sure([0.4, 0.4, 0.9]))
    watch.restart(torch.tensor([0]))
    stops = [watch.update(sure([0.4, 0.4, 0.9])).tolist() for _ in range(3)]
    assert stops == [[False, True, False], [False, True, False], [True, True, False]]
    watch.restart(torch.tensor([1, 2]))
    stops = [watch.update(sure([0.9, 0.95, 0.4])).tolist() for _ in range(3)]
    # means of the first row: (0.4 + 0.4 + 0.9) / 3, (0.4 + 0.9 + 0.9) / 3, 0.9; nothing old in the others
    assert stops == [[True, False, False], [False, False, False], [False, False, True]]


@pytest.mark.parametrize("window", [1, 2, 5])
def test_random_histories(window: int) -> None:
    generator = torch.Generator().manual_seed(window)
    rule = ExitRule(window, 0.65)
    watch, kept = ExitWatch(rule, 6, CPU), list(range(6))
    history = (0.35 + 0.64 * torch.rand(20, 6, generator=generator)).tolist()
    start, seen = [0] * 6, set()
    for step, confidences in enumerate(history):
        stops = watch.update(sure([confidences[row] for row in kept])).tolist()
        for row, stop in zip(kept, stops, strict=True):
            last = [history[i][row] for i in range(max(start[row], step - window + 1), step + 1)]
            assert stop == (len(last) == window and sum(last) / window < rule.threshold)
            seen.add(stop)
        if step in (3, 11):  # rows leave
            stay = [i for i in range(len(kept)) if i != 1]
            kept = [kept[i] for i in stay]
            watch.keep(torch.tensor(stay))
        if step in (6, 7, 15):  # rows begin anew
            anew = [0, 2] if step == 7 else [1]
            watch.restart(torch.tensor(anew))
            for i in anew:
                start[kept[i]] = step + 1
    assert seen == {True, False}


@pytest.mark.parametrize("window", [1, 2, 5])
def test_where_a_row_exits_follows_from_its_confidences(window: int) -> None:
    """The watch sees them one by one, `first_exit` all at once."""
    generator = torch.Generator().manual_seed(window)
    rows = (0.3 + 0.6 * torch.rand(60, 12, generator=generator)).double().round(decimals=6)
    for threshold in (0.35, 0.5, 0.6123457, 0.75, 0.95):
        rule = ExitRule(window, threshold)
        watch = ExitWatch(rule, len(rows), CPU)
        stops = torch.stack([watch.update(column) for column in rows.float().T], dim=1).tolist()
        ends = [next((i + 1 for i, stop in enumerate(row) if stop), None) for row in stops]
        assert [first_exit(row, rule) for row in rows.tolist()] == ends
        assert threshold != 0.6123457 or window == 5 or len({*ends} - {None}) > 2


def test_an_exit_needs_a_full_window_and_a_mean_below() -> None:
    assert first_exit([0.1, 0.1], ExitRule(3, 0.9)) is None
    assert first_exit([], ExitRule(1, 1.0)) is None
    assert first_exit([0.1, 0.1, 0.1], ExitRule(3, 0.9)) == 3
    assert first_exit([0.5, 0.5], ExitRule(1, 0.5)) is None
    assert first_exit([0.9, 0.5, 0.2, 0.1], ExitRule(2, 0.4)) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_confidence_is_the_largest_probability_in_single_precision(dtype: torch.dtype) -> None:
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    probabilities = logits.double().exp() / logits.double().exp().sum(-1, keepdim=True)
    made = confidence_of(logits)
    assert (made.shape, made.dtype) == ((5,), torch.float32)
    torch.testing.assert_close(made.double(), probabilities.max(-1).values, rtol=1e-6, atol=0)

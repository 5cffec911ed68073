"""Stopwatches add up and wait for the device."""

from __future__ import annotations

import pytest
import torch

from litestage import timing
from litestage.timing import Stopwatch, measure, spread


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by one second whenever it is read."""
    ticks = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_blocks_add_up() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with measure(watch, torch.device("cpu")):
            pass
    assert watch.seconds == 3.0


@pytest.mark.usefixtures("clock")
def test_a_block_that_fails_is_counted_and_its_error_goes_on() -> None:
    watch = Stopwatch()
    with pytest.raises(KeyError), measure(watch, torch.device("cpu")):
        raise KeyError("x")
    assert watch.seconds == 1.0


def test_the_device_is_waited_for_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: events.append(device))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(events.append("clock") or 0))
    device = torch.device("cuda")
    with measure(Stopwatch(), device):
        events.append("work")
    assert events == [device, "clock", "work", device, "clock"]


def test_a_cpu_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: pytest.fail("nothing to wait for"))
    timing.synchronize(torch.device("cpu"))


def test_spread_of_repeats() -> None:
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "low": 1.0, "high": 10.0}
    assert spread([4.0]) == {"median": 4.0, "low": 4.0, "high": 4.0}

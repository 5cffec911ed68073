"""The cost model's arithmetic by hand, and a calibration whose clock is made up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from litestage.engine import Engine
from litestage.model.decode import Rules, Trace
from litestage.model.sublayers import Decoder
from litestage.search import cost
from litestage.search.cost import AGAIN, UNEVEN, CostModel, calibrate, row_grid

HEAD, ATTENTION, FFN, CONFIDENCE = 8.0, 2.0, 3.0, 4.0
MODEL = CostModel(
    num_sublayers=6,
    rows=[1, 4],
    steps=[(1.0, 0.5, 0.25), (4.0, 2.0, 1.0)],
    prefill=(10.0, 0.5, 0.2, 0.1),
    fit={"points": 3},
    confidence=[0.5, 3.5],
)


@pytest.mark.parametrize(
    ("rows", "skip", "seconds"),
    [
        (1, set(), 1.0 + 3 * 0.5 + 3 * 0.25),
        (1, {0}, 1.0 + 2 * 0.5 + 3 * 0.25),  # sub-layer 0 is attention
        (1, {1}, 1.0 + 3 * 0.5 + 2 * 0.25),  # sub-layer 1 is feed-forward
        (1, set(range(6)), 1.0),
        (4, {0, 2, 3}, 4.0 + 1 * 2.0 + 2 * 1.0),
        (2, set(), 2.0 + 3 * 1.0 + 3 * 0.5),  # a third of the way from 1 to 4 rows
        (9, set(), 4.0 + 3 * 2.0 + 3 * 1.0),  # beyond the grid: its end
    ],
)
def test_step_seconds(rows: int, skip: set[int], seconds: float) -> None:
    assert MODEL.step_seconds(rows, skip) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("rows", "more"), [(1, 0.5), (2, 1.5), (4, 3.5), (9, 3.5)])
def test_confidences_cost_more(rows: int, more: float) -> None:
    plain, confident = (MODEL.step_seconds(rows, {1}, confident) for confident in (False, True))
    assert confident == pytest.approx(plain + more)
    assert MODEL.decode_seconds({rows: 3}, {1}, confident=True) == pytest.approx(3 * confident)


def test_costs_written_before_confidences_were_calibrated() -> None:
    document = MODEL.to_json()
    del document["step_seconds"]["confidence"]
    assert CostModel.from_json(document).step_seconds(4, (), confident=True) == MODEL.step_seconds(4)


def test_decode_and_prefill_add_up() -> None:
    assert MODEL.decode_seconds(Counter({1: 3, 4: 2}), {0}) == pytest.approx(3 * 2.75 + 2 * 11.0)
    assert MODEL.decode_seconds({}) == 0
    trace = Trace(prefill_calls=2, prefill_tokens=40)
    assert MODEL.prefill_seconds(trace) == pytest.approx(2 * 10.0 + 40 * (0.5 + 3 * 0.2 + 3 * 0.1))
    assert MODEL.prefill_seconds(trace, {0, 2, 5}) == pytest.approx(2 * 10.0 + 40 * (0.5 + 1 * 0.2 + 2 * 0.1))
    assert MODEL.prefill_seconds(Trace()) == 0


def test_to_json_keeps_everything() -> None:
    document = MODEL.to_json()
    assert document["rows"] == [1, 4]
    parts = {"head": [1.0, 4.0], "attention": [0.5, 2.0], "ffn": [0.25, 1.0], "confidence": [0.5, 3.5]}
    assert document["step_seconds"] == parts
    assert document["prefill_seconds"] == {"call": 10.0, "token": 0.5, "attention": 0.2, "ffn": 0.1}


def test_json_and_back() -> None:
    back = CostModel.from_json(json.loads(json.dumps(MODEL.to_json())))
    assert back == MODEL
    for skip in ((), {0, 3}):
        assert back.decode_seconds({1: 3, 3: 2}, skip) == MODEL.decode_seconds({1: 3, 3: 2}, skip)
        assert back.prefill_seconds(Trace(2, 40), skip) == MODEL.prefill_seconds(Trace(2, 40), skip)


@pytest.mark.parametrize("seed", range(5))
def test_a_row_takes_no_less_in_any_batch_up_to_the_largest(seed: int) -> None:
    """However the costs bend between the calibrated batch sizes."""
    draw = Random(seed)
    grid = [1, 4, 16, 40]
    steps = [(draw.uniform(1, 50), draw.uniform(0, 20), draw.uniform(0, 20)) for _ in grid]
    model = CostModel(6, grid, steps, MODEL.prefill, {})
    for skip in ((), {1}, {0, 2, 5}, range(6)):
        each = [model.step_seconds(rows, skip) / rows for rows in range(1, 41)]
        assert model.least_row_seconds(skip) == pytest.approx(min(each))
        steps_taken = {rows: draw.randint(1, 9) for rows in (1, 3, 17, 40)}
        rows_made = sum(rows * count for rows, count in steps_taken.items())
        assert rows_made * model.least_row_seconds(skip) <= model.decode_seconds(steps_taken, skip)


@pytest.mark.parametrize(
    ("rows", "grid"),
    [(1, [1]), (2, [1, 2]), (4, [1, 4]), (5, [1, 4, 5]), (16, [1, 4, 16]), (64, [1, 4, 16, 64])],
)
def test_row_grid(rows: int, grid: list[int]) -> None:
    assert row_grid(rows) == grid


def test_calibration_recovers_the_true_costs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds that follow the model exactly must be fitted exactly."""

    def decode_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], rules: Rules) -> float:
        attention = decoder.num_sublayers // 2 - sum(j % 2 == 0 for j in rules.skip)
        ffn = decoder.num_sublayers // 2 - sum(j % 2 == 1 for j in rules.skip)
        return len(prompts) * (HEAD + ATTENTION * attention + FFN * ffn + CONFIDENCE * rules.confident)

    def prefill_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], skip: Sequence[int]) -> float:
        attention, ffn = (decoder.num_sublayers // 2 - sum(j % 2 == part for j in skip) for part in (0, 1))
        return 7.0 + sum(len(p) for p in prompts) * (0.25 + 0.03 * attention + 0.02 * ffn)

    monkeypatch.setattr(cost, "_decode_seconds", decode_seconds)
    monkeypatch.setattr(cost, "_prefill_seconds", prefill_seconds)
    told: list[int] = []
    made = calibrate(engine.decoder, 5, 12, told.append)
    assert made.rows == [1, 4, 5]
    assert len(told) == 3
    for rows, step in zip(made.rows, made.steps, strict=True):
        assert step == pytest.approx((rows * HEAD, rows * ATTENTION, rows * FFN))
    assert made.confidence == pytest.approx([rows * CONFIDENCE for rows in made.rows])
    assert made.prefill == pytest.approx((7.0, 0.25, 0.03, 0.02))
    errors = [value for name, value in made.fit.items() if name.endswith("error")]
    assert max(errors) < 1e-9
    assert made.fit["points"] == 3 * 6 + 3 * 2 + 2


def true_seconds(decoder: Decoder, prompts: Sequence[Sequence[int]], rules: Rules) -> float:
    """A decode step that follows the model exactly."""
    attention, ffn = (decoder.num_sublayers // 2 - sum(j % 2 == part for j in rules.skip) for part in (0, 1))
    return len(prompts) * (HEAD + ATTENTION * attention + FFN * ffn)


def test_a_batch_size_that_was_disturbed_is_timed_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else ran while two steps of four rows were timed."""
    timed: list[int] = []

    def disturbed(decoder: Decoder, prompts: Sequence[Sequence[int]], rules: Rules) -> float:
        timed.append(len(prompts))
        slower = 5 if len(prompts) == 4 and timed.count(4) in (2, 3) else 1
        return slower * true_seconds(decoder, prompts, rules)

    monkeypatch.setattr(cost, "_decode_seconds", disturbed)
    monkeypatch.setattr(cost, "_prefill_seconds", lambda *_: 1.0)
    made = calibrate(engine.decoder, 5, 12)
    assert [timed.count(rows) for rows in (1, 4, 5)] == [7, 13, 7]
    for rows, step in zip(made.rows, made.steps, strict=True):
        assert step == pytest.approx((rows * HEAD, rows * ATTENTION, rows * FFN))


def test_a_machine_that_is_always_disturbed_is_not_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Random(0)
    timed: list[int] = []

    def disturbed(decoder: Decoder, prompts: Sequence[Sequence[int]], rules: Rules) -> float:
        timed.append(len(prompts))
        return noise.uniform(1, 10) * true_seconds(decoder, prompts, rules)

    monkeypatch.setattr(cost, "_decode_seconds", disturbed)
    monkeypatch.setattr(cost, "_prefill_seconds", lambda *_: 1.0)
    made = calibrate(engine.decoder, 1, 12)
    assert len(timed) == 6 * (1 + AGAIN) + 1
    assert made.fit["decode_max_relative_error"] > UNEVEN


def test_a_part_that_would_come_out_negative_is_left_out_and_the_others_are_fitted_without_it() -> None:
    features = np.array([[1.0, 10.0, 30.0], [1.0, 20.0, 40.0], [1.0, 30.0, 90.0]])
    seconds = features @ [1.0, 1.0, -0.1]
    fitted, errors = cost._fit(list(zip(features.tolist(), seconds.tolist(), strict=True)))
    others = np.linalg.lstsq(features[:, :2] / seconds[:, None], np.ones(3), rcond=None)[0]
    assert fitted == pytest.approx([*others, 0.0])
    assert errors == pytest.approx(abs(features[:, :2] @ others - seconds) / seconds)
    assert min(fitted[:2]) > 0


def test_calibration_on_a_real_engine_is_positive_and_monotone(engine: Engine) -> None:
    made = calibrate(engine.decoder, rows=4, prompt_tokens=12)
    everything = range(engine.decoder.num_sublayers)
    for rows in (1, 3, 4):
        costs = [made.step_seconds(rows, everything[:skipped]) for skipped in range(len(everything) + 1)]
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > 0
    assert min(min(step) for step in made.steps) >= 0
    assert len(made.confidence) == 2
    assert min(made.confidence) >= 0
    assert made.prefill_seconds(Trace(1, 12)) > 0
    assert made.prefill_seconds(Trace(1, 12)) >= made.prefill_seconds(Trace(1, 12), everything) >= 0
    names = {"decode_median_relative_error", "decode_max_relative_error", "prefill_median_relative_error"}
    assert set(made.fit) == {"points"} | names
    assert made.fit["decode_median_relative_error"] <= made.fit["decode_max_relative_error"]


def test_calibration_runs_the_steps_it_divides_by(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every timed decode has exactly STEPS steps with all rows: random rows never end early."""
    traces: list[Counter[int]] = []
    original = cost.decode

    def spy(decoder: Decoder, prompts: object, rows: Sequence[int], rules: Rules, trace: Trace) -> object:
        out = original(decoder, prompts, rows, rules, trace)
        traces.append(trace.steps)
        return out

    monkeypatch.setattr(cost, "decode", spy)
    calibrate(engine.decoder, rows=2, prompt_tokens=12)
    assert {tuple(steps.items()) for steps in traces} == {((1, cost.STEPS),), ((2, cost.STEPS),)}

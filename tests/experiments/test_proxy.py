"""Rankings against the truth: the correlation, its interval, and what one sub-layer really does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional import spearman_corrcoef

from litestage.experiments import Bench, Result
from litestage.experiments.proxy import SCORES, TRUTHS, changed, interval, spearman
from litestage.metrics import score
from litestage.model.decode import Generated
from litestage.pipeline import run
from litestage.plan import StagePlan

Picked = Callable[..., list[dict[str, Any]]]


def test_a_perfect_proxy_has_correlation_one() -> None:
    effect = np.array([0.1, 0.5, 0.2, 0.9])
    assert float(spearman(effect**3, effect)) == pytest.approx(1)
    assert float(spearman(-effect, effect)) == pytest.approx(-1)
    assert float(spearman(np.ones(4), effect)) == 0
    value, low, high = interval(list(effect), list(effect), 0)
    assert value == pytest.approx(1)
    assert high == pytest.approx(1)
    assert low <= 1


def test_ties_share_their_mean_rank_as_in_torchmetrics() -> None:
    draw = np.random.default_rng(3)
    for _ in range(5):
        a, b = draw.integers(0, 4, (2, 12)).astype(float)
        expected = float(spearman_corrcoef(torch.tensor(a), torch.tensor(b)))
        assert float(spearman(a, b)) == pytest.approx(expected, abs=1e-5)
    many = draw.normal(size=(2, 7, 9))
    assert spearman(*many)[3] == pytest.approx(float(spearman(many[0, 3], many[1, 3])))


def test_an_interval_holds_its_value_and_is_the_same_for_a_seed() -> None:
    draw = np.random.default_rng(0)
    effect = draw.normal(size=30)
    guess = effect + draw.normal(size=30)
    value, low, high = interval(list(guess), list(effect), 1)
    assert low < value < high
    assert 0 < low < high < 1
    assert interval(list(guess), list(effect), 1) == (value, low, high)


def test_changed_tokens_are_counted_place_by_place() -> None:
    def output(*tokens: int) -> Generated:
        return Generated(list(tokens), "eos")

    assert changed([(output(1, 2, 3), output(1, 2, 3))]) == 0
    assert changed([(output(1, 2, 3, 4), output(1, 9))]) == 0.75
    assert changed([(output(1, 2), output(1, 2)), (output(1), output(3, 4))]) == 0.5
    assert changed([]) == 0


def test_the_truth_is_what_the_pipeline_does_without_the_sublayer(
    bench: Bench, made: Callable[[str], Result], picked: Picked
) -> None:
    full = bench.engine.full_depth()
    before = run(bench.engine, bench.validation, full).attempts
    for stage, sublayer in (("recall", 1), ("summarize", 2)):
        alone = replace(full, stages={**full.stages, stage: StagePlan((sublayer,))})
        after = run(bench.engine, bench.validation, alone).attempts
        (row,) = picked(made("proxy"), table="effects", stage=stage, sublayer=sublayer)
        lost = score(bench.validation, before).accuracy - score(bench.validation, after).accuracy
        assert row["lost_accuracy"] == pytest.approx(100 * lost)
        same = [[o.text for o in a.outputs if o.stage == stage] for a in before] == [
            [o.text for o in a.outputs if o.stage == stage] for a in after
        ]
        assert (row["changed_tokens"] == 0) == same
        assert row["cosine"] == pytest.approx(1 - bench.importance.similarity[sublayer])
        assert row["cosine_stage"] == pytest.approx(1 - bench.importance.stages[stage][sublayer])


def test_every_ranking_is_correlated_with_every_truth(
    bench: Bench, made: Callable[[str], Result], picked: Picked
) -> None:
    result = made("proxy")
    rows = picked(result, table="correlations")
    stages = bench.engine.stage_names
    assert [(r["stage"], r["ranking"], r["truth"]) for r in rows] == [
        (stage, ranking, truth) for stage in stages for ranking in SCORES for truth in TRUTHS
    ]
    for row in rows:
        effects = picked(result, table="effects", stage=row["stage"])
        guess, effect = ([effect[name] for effect in effects] for name in (row["ranking"], row["truth"]))
        assert row["spearman"] == pytest.approx(float(spearman(np.array(guess), np.array(effect))))
        assert -1 <= row["spearman_low"] <= row["spearman_high"] <= 1

"""The paper's numbers agree with each other."""

from __future__ import annotations

import pytest

from litestage.experiments.paper import PUBLISHED


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_the_mean_of_the_budgets_is_the_number_of_skipped_layers(benchmark: str) -> None:
    said = PUBLISHED[benchmark]
    means = [round(sum(layers) / 3, 1) for layers in said.budgets.values()]
    assert means == [skipped for skipped, *_ in said.frontier["litestage"]]


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_methods_are_compared_at_three_budgets_each(benchmark: str) -> None:
    for points in PUBLISHED[benchmark].frontier.values():
        assert len(points) == 3
        assert all(0 <= accuracy <= 100 and 0.5 < speedup < 2 for _, accuracy, speedup in points)

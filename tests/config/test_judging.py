"""Checks of the settings of search and evaluation, by the message they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litestage.config import EvaluateSettings, SearchSettings

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: SearchSettings(eps=1.0), "search.eps is 1.0; it is a share of accuracy"),
    (lambda: SearchSettings(eps=-0.01), "search.eps is -0.01"),
    (lambda: SearchSettings(step=0), "search.step is 0; at least 1"),
    (lambda: SearchSettings(importance_questions=0), "search.importance_questions is 0; at least 1"),
    (lambda: SearchSettings(questions=0), "search.questions is 0; at least 1"),
    (lambda: SearchSettings(coarse=0), "search.coarse is 0; at least 1"),
    (lambda: SearchSettings(max_budget=-1), "search.max_budget is -1; at least 0, or null for all"),
    (lambda: SearchSettings(racing_error=0.0), "search.racing_error is 0.0; a probability between 0 and 1"),
    (lambda: SearchSettings(racing_error=1.0), "search.racing_error is 1.0; a probability between 0 and 1"),
    (lambda: SearchSettings(exit_quantile=-0.1), "search.exit_quantile is -0.1; it is a share, from 0 to 1"),
    (lambda: SearchSettings(exit_quantile=1.1), "search.exit_quantile is 1.1; it is a share, from 0 to 1"),
    (lambda: SearchSettings(exit_candidates=[0.5, 1.5]), "exit threshold is 1.5; it is a probability"),
    (lambda: SearchSettings(exit_candidates=[-0.5, 0.5]), "exit threshold is -0.5; it is a probability"),
    (lambda: SearchSettings(exit_threshold=1.5), "exit threshold is 1.5; it is a probability"),
    (lambda: SearchSettings(exit_window=0), "search.exit_window is 0; at least 1"),
    (lambda: EvaluateSettings(attempts=0), "evaluate.attempts is 0; at least 1"),
    (lambda: EvaluateSettings(repeats=0), "evaluate.repeats is 0; at least 1"),
    (
        lambda: EvaluateSettings(methods=["adaskip", "layerdrop"]),
        r"evaluate.methods has unknown \['layerdrop'\]; known",
    ),
    (lambda: EvaluateSettings(methods=["x"]), "known are litestage, litestage without exit, adaskip, adaskip scaled, "),
    (lambda: EvaluateSettings(timed_questions=0), "evaluate.timed_questions is 0; at least 1"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_setting_is_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_wrong_window_is_refused_also_where_only_a_quantile_needs_it() -> None:
    with pytest.raises(ValueError, match=r"search\.exit_window is 0"):
        SearchSettings(exit_threshold=None, exit_quantile=0.5, exit_window=0)


@pytest.mark.parametrize(
    "ends",
    [
        {"eps": 0.0, "exit_quantile": 0.0, "exit_candidates": [0.0, 1.0], "max_budget": 0, "coarse": 1},
        {"eps": 0.999, "exit_quantile": 1.0, "racing_error": 0.999, "exit_threshold": None, "exit_window": 1},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(ends: dict[str, Any]) -> None:
    made = SearchSettings(**ends)
    assert {name: getattr(made, name) for name in ends} == ends


@pytest.mark.parametrize(
    ("settings", "searched"),
    [
        ({}, False),
        ({"exit_threshold": 0.3}, False),
        ({"exit_candidates": [0.3]}, True),
        ({"exit_quantile": 0.0}, True),
    ],
)
def test_exit_rules_are_searched_only_with_candidates_or_a_quantile(settings: dict[str, Any], searched: bool) -> None:
    assert SearchSettings(**settings).searches_exit is searched

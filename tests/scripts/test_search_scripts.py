"""The comparisons of searches and of rankings run on the tiny run and keep what they promise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def started(
    done: SimpleNamespace, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Run a script on a copy of the tiny run; its last line is what it returns."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])

    def run(name: str, *arguments: str) -> dict[str, Any]:
        script = import_module(name)
        summary = script.main(["--config", str(done.config), "--root", str(copied.parent), *arguments])
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
        return dict(summary)

    return run


def test_the_exact_search_finds_the_naive_plan_for_less(started: Callable[..., dict[str, Any]]) -> None:
    summary = started("bench_search")
    assert summary["same_plan_exact"] is True
    assert isinstance(summary["same_plan_racing"], bool)
    spent = {name: tokens["prefill"] + tokens["generated"] for name, tokens in summary["spent"].items()}
    assert 0 < spent["exact"] < spent["naive"]
    assert summary["token_ratio_exact"] == pytest.approx(spent["exact"] / spent["naive"], abs=1e-4)
    assert summary["token_ratio_racing"] == pytest.approx(spent["racing"] / spent["naive"], abs=1e-4)


def test_rankings_are_compared_at_every_eps(started: Callable[..., dict[str, Any]]) -> None:
    summary = started("compare_rankings", "--search.max_budget", "2")
    rows = summary["frontier"]
    script = import_module("compare_rankings")
    assert [(row["option"], row["eps"]) for row in rows] == [(o, eps) for o in script.OPTIONS for eps in script.EPS]
    for row in rows:
        assert max(row["budgets"].values()) <= 2
        assert row["validation_change"] >= -row["eps"] - 1e-9
        assert row["saved_decode_share"] < 1
        if not any(row["budgets"].values()) and "exit" not in row["option"]:
            assert (row["validation_change"], row["saved_decode_share"], row["speedup"]) == (0, 0, 1)

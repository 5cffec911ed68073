"""The card of a plan: it says what the plan knows, and no more."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from litestage.plan import ExitRule, Plan, StagePlan

STAGES = {"recall": StagePlan((7, 2)), "analyze": StagePlan((0, 1, 3, 9), ExitRule(4, 0.25)), "last": StagePlan()}


@pytest.fixture
def plan() -> Plan:
    return Plan("small", 10, STAGES, {"eps": 0.01})


def test_the_card_shows_both_units_and_the_exit_rule(plan: Plan, tmp_path: Path) -> None:
    card = (plan.save_pretrained(tmp_path) / "README.md").read_text()
    assert "# Skip plan for small" in card
    assert "| recall | 2 | 1 | [2, 7] | decode | none |" in card
    assert "| analyze | 4 | 2 | [0, 1, 3, 9] | decode | mean of 4 below 0.25 |" in card


FOUND = {
    "method": "litestage",
    "ranking": "cosine",
    "full_depth_accuracy": 0.935,
    "accuracy": 0.925,
    "confidence": {
        "accuracy_change": {"value": -0.01, "low": -0.0225, "high": 0.00006},
        "speedup": {"value": 1.3685, "low": 1.3361, "high": 1.4076},
        "level": 0.95,
        "n": 400,
    },
    "benchmark": "obqa",
    "questions": 400,
    "split": "a06db00d99b6",
    "weights": "7c13db1d4d33",
}


def test_the_card_says_what_the_plan_is_for_and_what_it_is_worth(tmp_path: Path) -> None:
    card = (Plan("small", 10, STAGES, FOUND).save_pretrained(tmp_path) / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "litestage"
    for row in (
        "| model | small, 10 sub-layers |",
        "| weights | `7c13db1d4d33`, from the SHA-256 of their files |",
        "| benchmark | obqa |",
        "| searched on | 400 validation questions (`a06db00d99b6`) |",
        "| method | litestage, ranking cosine |",
        "| validation accuracy | 92.5 %, at full depth 93.5 % |",
        "| accuracy change | -1.0 points [-2.2, +0.0] |",
        "| predicted speed-up | 1.37 [1.34, 1.41] |",
        "In brackets: 95 % intervals, n = 400. ",
    ):
        assert row in card, row


def test_the_card_claims_nothing_that_the_plan_does_not_know(plan: Plan, tmp_path: Path) -> None:
    card = (plan.save_pretrained(tmp_path) / "README.md").read_text()
    assert "| model | small, 10 sub-layers |" in card
    assert [word for word in ("accuracy", "speed-up", "benchmark", "intervals", "`None`") if word in card] == []


def test_the_code_on_the_card_runs(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plan.save_pretrained(tmp_path / "path" / "to" / "plan")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    applied: list[tuple[Any, str]] = []
    monkeypatch.setattr(Plan, "apply", lambda self, model, stage: applied.append((self, stage)) or nullcontext())
    monkeypatch.chdir(tmp_path)
    exec(code, {"model": SimpleNamespace(generate=lambda **_: None), "inputs": {}})
    assert applied == [(plan, "analyze")]  # what skips most shows most


@pytest.mark.parametrize(("last", "given"), [("summarize", False), ("answer", True)])
def test_the_command_on_the_card_names_a_file_for_other_stages(tmp_path: Path, last: str, given: bool) -> None:
    plan = Plan.full_depth("small", 10, ["recall", "analyze", last])
    card = (plan.save_pretrained(tmp_path) / "README.md").read_text()
    assert (" --reasoning path/to/stages.yaml " in card) == given

"""A search that is killed, for real, at any moment: started again it ends in the same plan and does no work twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from litestage.config import SearchSettings
from litestage.engine import Engine
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.search.cost import CostModel
from litestage.search.journal import Journal
from litestage.search.objective import Objective
from litestage.search.stagewise import search

COST = CostModel(6, [1, 20], [(1.0, 0.5, 0.25), (20.0, 10.0, 5.0)], (10.0, 0.5, 0.0, 0.0), {})
KILLS = 20


@pytest.fixture
def case(engine: Engine, questions: list[Question]) -> tuple[Engine, list[Question]]:
    """A random model whose outputs name an option (their first letter of these), and questions that full depth
    answers right, most of them, so that skipping costs accuracy."""
    engine = replace(engine, reasoning=replace(engine.reasoning, answer_pattern="([aeo])"))
    asked = [Question(q.id, q.text, dict(zip("aeo", q.options.values(), strict=False)), "a") for q in questions]
    attempts = run(engine, asked, engine.full_depth()).attempts
    return engine, [replace(q, answer=a.answer or "a") for q, a in zip(asked, attempts, strict=True)]


def searched(engine: Engine, questions: list[Question], folder: Path) -> None:
    """A whole search with a journal; the plan is written at the end."""
    objective = Objective(engine, questions, COST, journal=Journal(folder / "search.jsonl", {"model": "random"}))
    orders = {name: [5, 4, 3, 2, 1, 0] for name in engine.stage_names}
    found = search(objective, orders, SearchSettings(step=1, eps=0.2))
    (folder / "plan.json").write_text(json.dumps([found.plan.to_json(), found.final.summary()]))


def in_a_child(engine: Engine, questions: list[Question], folder: Path, seconds: float | None) -> float:
    """Search in a process of its own, killed after so many seconds; returns how long it lived."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        searched(engine, questions, folder)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return time.perf_counter() - start


def made(folder: Path) -> Counter[str]:
    """Output -> how often it stands in the journal."""
    lines = (folder / "search.jsonl").read_bytes().split(b"\n")[:-1]
    return Counter(name for line in lines for name in json.loads(line).get("outputs", ()))


@pytest.mark.filterwarnings("ignore:.*torn", "ignore:.*fork")
def test_killed_at_twenty_random_moments(case: tuple[Engine, list[Question]], tmp_path: Path) -> None:
    engine, questions = case
    whole = tmp_path / "whole"
    whole.mkdir()
    lasted = in_a_child(engine, questions, whole, None)
    plan, outputs = (whole / "plan.json").read_text(), made(whole)
    assert set(outputs.values()) == {1}
    draw, cut_short = random.Random(0), 0
    folder = tmp_path / "killed"
    folder.mkdir()
    for kill in range(KILLS):
        in_a_child(engine, questions, folder, draw.uniform(0, lasted))
        cut_short += not (folder / "plan.json").exists()
        if kill % 4 < 3 and not (folder / "plan.json").exists():
            continue  # killed again before it got to the end
        in_a_child(engine, questions, folder, None)
        assert (folder / "plan.json").read_text() == plan
        assert made(folder) == outputs
        for path in folder.iterdir():
            path.unlink()
    assert cut_short > KILLS / 4


def test_a_resumed_search_generates_nothing_that_is_known(case: tuple[Engine, list[Question]], tmp_path: Path) -> None:
    engine, questions = case
    searched(engine, questions, tmp_path)
    journal = Journal(tmp_path / "search.jsonl", {"model": "random"})
    objective = Objective(engine, questions, COST, journal=journal)
    objective.trial(Plan(engine.name, 6, {name: StagePlan((5,)) for name in engine.stage_names}))
    before = objective.spent.generated
    objective.trial(engine.full_depth())
    assert objective.spent.generated == before

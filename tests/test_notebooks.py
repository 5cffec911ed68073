"""Notebooks run from top to bottom, and are committed without what they printed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from litestage.records import Attempt, Question, StageOutput
from litestage.report.answers import write_answers
from litestage.report.schema import read

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of what the notebooks need, where what they write spoils nothing."""
    for name in ("notebooks", "configs", "docs/results"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("train.py", "search.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def execute(path: Path, timeout: float) -> tuple[str, list[str]]:
    """Run a notebook in its folder; returns all it printed, and the kinds of what it displayed."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    done = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=place).execute()
    outputs: list[Any] = [output for cell in done.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in outputs]
    texts = [output.get("text", "") for output in outputs]
    texts += [data.get("text/markdown") or data.get("text/plain", "") for data in shown]
    return "\n".join(texts), [kind for data in shown for kind in data]


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb", "results.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kept = [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert kept == [], "clear all outputs before you commit"


def test_a_finished_run_is_looked_at(house: Path) -> None:
    run = house / "checkpoints" / "miniworld"
    shutil.copytree(house / "docs" / "results" / "miniworld", run)
    question = Question("q1", "Which one floats?", {"A": "a nail", "B": "a log"}, "B")
    written = StageOutput("recall", "", "prompt", "Wood floats on water.", 5, "eos")
    attempts = {
        name: [Attempt("q1", 0, (written,), given)] for name, given in (("full depth", "B"), ("litestage", "A"))
    }
    write_answers(run, [question], attempts)
    said, kinds = execute(house / "notebooks" / "results.ipynb", 300)
    assert "the plan answers 93.2" in said.replace("\xa0", " ")
    assert "litestage answers A\n  recall  (5 tokens, eos): Wood floats on water." in said
    assert kinds.count("image/png") == 4
    assert kinds.count("application/vnd.plotly.v1+json") == 8


@pytest.mark.slow
def test_the_way_from_nothing_to_a_plan(house: Path) -> None:
    said, _ = execute(house / "notebooks" / "quickstart.ipynb", 1200)
    results = read(house / "checkpoints" / "quickstart" / "results.json", "results")
    assert {"full depth", "litestage", "adaskip"} <= {method["name"] for method in results["methods"]}
    assert "error" not in said.lower()
    assert "report.html" in said

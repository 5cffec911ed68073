"""Two processes that share the questions, started as a user starts them: same outputs, same plan, same accuracies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(script: str, done: SimpleNamespace, root: Path) -> str:
    """Run a script in two processes; returns what it printed."""
    command = [sys.executable, str(ROOT / script), "--config", str(done.config), "--root", str(root)]
    own = {k: v for k, v in os.environ.items() if k not in {"LOCAL_RANK", "WORLD_SIZE", "NODE_RANK"}}
    result = subprocess.run(
        [*command, "--trainer.devices", "2"],
        cwd=root,
        env={**own, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def facts(journal: Path) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, journal.read_text().splitlines()) if "outputs" not in line]


def outputs(journal: Path) -> dict[str, Any]:
    """Output -> its tokens and why it stopped. (The last digit of a confidence depends on the other rows.)"""
    lines = map(json.loads, journal.read_text().splitlines())
    return {name: output[:2] for line in lines for name, output in line.get("outputs", {}).items()}


@pytest.fixture(scope="module")
def shared(done: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The finished run searched and evaluated again in two processes, with the costs and rankings of the first time."""
    root = tmp_path_factory.mktemp("two")
    folder = root / "mini"
    shutil.copytree(done.folder, folder)
    for old in ("plan/plan.json", "search.json", "results.json"):
        (folder / old).unlink()
    journal = folder / "search.jsonl"
    kept = [line for line in facts(journal) if "trial" not in line]
    journal.write_text("".join(json.dumps(line) + "\n" for line in kept))
    printed = {name: start(f"{name}.py", done, root) for name in ("search", "evaluate")}
    return SimpleNamespace(folder=folder, printed=printed)


def test_the_search_generates_the_same_and_ends_in_the_same_plan(
    done: SimpleNamespace, shared: SimpleNamespace
) -> None:
    assert outputs(shared.folder / "search.jsonl") == outputs(done.folder / "search.jsonl")
    assert facts(shared.folder / "search.jsonl") == facts(done.folder / "search.jsonl")
    plans = [json.loads((folder / "plan" / "plan.json").read_text()) for folder in (shared.folder, done.folder)]
    assert plans[0] == plans[1]
    assert any(stage["skip"] for stage in plans[0]["stages"].values())


def test_no_question_counts_twice(done: SimpleNamespace, shared: SimpleNamespace) -> None:
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (shared.folder, done.folder))
    assert (ours["timing"]["processes"], theirs["timing"]["processes"]) == (2, 1)
    assert ours["timing"]["questions"] == theirs["timing"]["questions"]
    names = ("name", "n", "accuracy", "single_pass_accuracy", "unparsed_rate")
    for mine, other in zip(ours["methods"], theirs["methods"], strict=True):
        assert {name: mine[name] for name in names} == {name: other[name] for name in names}
        assert mine["tokens_per_question"] == pytest.approx(other["tokens_per_question"])


def test_only_the_first_process_prints_the_summary(shared: SimpleNamespace) -> None:
    for printed in shared.printed.values():
        assert sum(line.startswith("{") for line in printed.splitlines()) == 1

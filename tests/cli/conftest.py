"""A tiny experiment that is trained, searched and evaluated once; copies of it that a test may spoil."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litestage import cli
from litestage.cli import searching

Step = Callable[..., dict[str, Any] | None]

DEFAULT = Path(__file__).resolve().parents[2] / "configs" / "miniworld.yaml"
CONFIG = """
run: mini
seed: 1
model: {tiny: {blocks: 2, hidden: 32, heads: 2, ffn: 48, vocabulary: 300}, learning_rate: 1.0e-2}
data: {train_size: 32, validation_size: 16, test_size: 6, batch_size: 4, curriculum_steps: 1}
reasoning:
  batch_size: 5
  answer_pattern: "([A-Z])\\\\."
  stages:
  - {name: recall, prompt: "{question}\\n{options}\\nRecall:", max_new_tokens: 6}
  - {name: analyze, prompt: "{question}\\nRecall: {recall}\\nAnalyze: {cue}", cue: "For {label},", max_new_tokens: 6}
  - {name: summarize, prompt: "{question}\\n{analyze}\\nSummarize:", target: " A.", max_new_tokens: 6, loss_weight: 3.0}
search: {importance_questions: 3, step: 2}
evaluate: {attempts: 2, repeats: 2, timed_questions: 4}
tracking: {wandb: disabled}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""
"""The model learns to answer A, which is right once in four: a search has something to lose."""


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run: where it lies; what each script printed, returned and warned of."""
    root = tmp_path_factory.mktemp("runs")
    config = root / "mini.yaml"
    config.write_text(CONFIG)
    made = SimpleNamespace(config=config, folder=root / "mini", stdout={}, stderr={}, returned={}, warned={})
    for step in (cli.train, cli.search, cli.evaluate):
        name, out, err = step.__name__, io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            made.returned[name] = step(["--config", str(config), "--root", str(root)], default=DEFAULT)
        made.stdout[name], made.stderr[name] = out.getvalue(), err.getvalue()
        made.warned[name] = [str(warning.message) for warning in warned]
    made.summary = {name: json.loads(text.splitlines()[-1]) for name, text in made.stdout.items()}
    return made


@pytest.fixture
def copied(done: SimpleNamespace, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(done.folder, tmp_path / "mini")
    return tmp_path / "mini"


@pytest.fixture
def again(done: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a step once more, on the copied run; returns its summary."""
    monkeypatch.setattr(searching, "draw_all", lambda _: [])  # slow, and tested elsewhere

    def run(step: Step, *arguments: str) -> dict[str, Any]:
        summary = step(["--config", str(done.config), "--root", str(tmp_path), *arguments], default=DEFAULT)
        assert summary is not None
        return summary

    return run


@pytest.fixture
def fails(done: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a step that must end with status 2; returns its message."""

    def run(step: Step, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            step(["--config", str(done.config), "--root", str(tmp_path), *arguments], default=DEFAULT)
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    return run

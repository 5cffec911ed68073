"""Good documents of every format, made in code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Attempt, Question, StageOutput
from litestage.report.answers import write_answers

STAGES = ("recall", "analyze", "summarize")
SUBLAYERS = 16

METHODS: tuple[tuple[str, tuple[int, int, int], float, tuple[float, float, float], bool], ...] = (
    ("full depth", (0, 0, 0), 0.66, (1.0, 1.0, 1.0), False),
    ("full depth (control)", (0, 0, 0), 0.66, (0.97, 1.004, 1.03), False),
    ("litestage", (4, 6, 2), 0.652, (1.27, 1.31, 1.36), True),
    ("litestage without exit", (4, 6, 2), 0.654, (1.22, 1.26, 1.30), False),
    ("adaskip", (4, 4, 4), 0.58, (1.02, 1.08, 1.14), False),
)


def _method(
    name: str, budgets: tuple[int, ...], accuracy: float, speed: tuple[float, ...], exits: bool
) -> dict[str, Any]:
    low, median, high = speed
    return {
        "name": name,
        "budgets": dict(zip(STAGES, budgets, strict=True)),
        "mean_full_layers": sum(budgets) / 6,
        "accuracy": accuracy,
        "accuracy_stderr": math.sqrt(accuracy * (1 - accuracy) / 500),
        "n": 500,
        "single_pass_accuracy": accuracy - 0.031,
        "unparsed_rate": 0.012,
        "attempts": 10,
        "seconds_per_question": 0.4187 / median,
        "ms_per_token": 5.25 / median,
        "tokens_per_question": {"recall": 12.5, "analyze": 61.25, "summarize": 8.0},
        "speedup": {"median": median, "low": low, "high": high},
        "exit": exits,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Five methods on one benchmark."""
    return {
        "format": "litestage-results",
        "version": 1,
        "run": "miniworld",
        "model": "tiny",
        "num_sublayers": SUBLAYERS,
        "benchmark": "miniworld",
        "seed": 0,
        "methods": [_method(*method) for method in METHODS],
        "timing": {
            "repeats": 3,
            "questions": 64,
            "batch_size": 16,
            "processes": 1,
            "control": "full depth (control)",
            "note": "paired",
        },
        "environment": {
            "python": "3.11.2",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "lightning": None,
            "litestage": "0.1.0",
            "platform": "Linux x86_64",
            "device": "cpu",
            "threads": 2,
            "dtype": "float32",
            "git": None,
            "date": "2026-01-31T12:00:00+00:00",
            "command": "evaluate.py --config configs/miniworld.yaml",
        },
    }


@pytest.fixture
def plan() -> dict[str, Any]:
    """Three stages, one of which exits early."""
    return {
        "format": "litestage-plan",
        "version": 1,
        "model": "tiny",
        "num_sublayers": SUBLAYERS,
        "stages": {
            "recall": {"skip": [2, 5, 9, 15], "exit": {"window": 5, "threshold": 0.5}, "prefill": True},
            "analyze": {"skip": [2, 5], "exit": None},
            "summarize": {"skip": [], "exit": None},
        },
        "provenance": {"eps": 0.01},
    }


@pytest.fixture
def importance() -> dict[str, Any]:
    """A made-up similarity that differs by stage."""

    def similarity(shift: float) -> list[float]:
        return [0.8 + 0.15 * math.sin(0.7 * j + shift) + 0.03 * (j % 2) for j in range(SUBLAYERS)]

    stages: dict[str, Any] = {
        name: {"similarity": similarity(0.2 * i), "questions": 50} for i, name in enumerate(STAGES)
    }
    mean = [sum(stage["similarity"][j] for stage in stages.values()) / 3 for j in range(SUBLAYERS)]
    return {
        "format": "litestage-importance",
        "version": 1,
        "model": "tiny",
        "num_sublayers": SUBLAYERS,
        "stages": stages,
        "similarity": mean,
        "order": sorted(range(SUBLAYERS), key=lambda j: -mean[j]),
    }


def _trial(stage: str, step: int, loss: float, latency: float, others: dict[str, int]) -> dict[str, Any]:
    """Budget `2 * step`: those of step 3 and 4 were given up, so their accuracy is only a bound."""
    stopped = {3: "accuracy", 4: "latency"}.get(step, "")
    return {
        "stage": stage,
        "budget": 2 * step,
        "exit": None,
        "prefill": False,
        "budgets": {**others, stage: 2 * step},
        "accuracy": 0.66 - loss,
        "latency": None if stopped else latency - 0.02 * step,
        "tokens": {} if stopped else {"recall": 12.5, "analyze": 61.25, "summarize": 8.0},
        "answered": 8 * (6 - step) if stopped else 200,
        "stopped": stopped,
        "feasible": step < 2,
        "chosen": step == 1,
    }


@pytest.fixture
def profile() -> dict[str, Any]:
    """Three stages, five budgets each: two are feasible and budget 2 is chosen; one misses the target, two were given
    up. Summarize was also tried with an exit, and with skipping in prefill."""
    trials = []
    chosen = dict.fromkeys(STAGES, 0)
    latency = 0.42
    for place, stage in enumerate(("analyze", "recall", "summarize")):
        for step, loss in enumerate((0.0, 0.004, 0.03, 0.02, 0.0)):
            trials.append(_trial(stage, step, loss + 0.002 * place, latency, chosen))
        chosen[stage] = 2
        latency -= 0.02
    missed = {**trials[-4], "accuracy": 0.61, "feasible": False, "chosen": False}
    trials[-3:-3] = [{**missed, "exit": 0.35}, {**missed, "prefill": True}]
    return {
        "format": "litestage-search",
        "version": 2,
        "target": 0.65,
        "full_depth": {
            "accuracy": 0.66,
            "latency": {"recall": 0.09, "analyze": 0.27, "summarize": 0.06},
            "tokens": {"recall": 11.0, "analyze": 62.0, "summarize": 8.0},
            "n": 200,
        },
        "final": {
            "accuracy": 0.655,
            "latency": {"recall": 0.07, "analyze": 0.21, "summarize": 0.05},
            "tokens": {"recall": 11.0, "analyze": 61.0, "summarize": 8.0},
            "n": 200,
        },
        "exit_kept": True,
        "trials": trials,
        "cost_model": {"ms_per_sublayer": 0.12},
        "spent": {"prefill": 90210, "generated": 43210},
        "confidence": {
            "accuracy_change": {"value": -0.005, "low": -0.02, "high": 0.01},
            "speedup": {"value": 1.27, "low": 1.24, "high": 1.31},
            "level": 0.95,
            "n": 200,
        },
    }


def _attempt(question: Question, answer: str | None, thought: str) -> Attempt:
    outputs = [StageOutput("recall", "", "prompt", thought, 5, "confidence" if answer is None else "eos")]
    outputs += [StageOutput("analyze", k, "prompt", f"{v} may be.", 4, "eos") for k, v in question.options.items()]
    outputs.append(StageOutput("summarize", "", "prompt", f"So the answer is option {answer}.", 8, "eos"))
    return Attempt(question.id, 0, tuple(outputs), answer)


@pytest.fixture
def write_questions() -> Callable[..., Path]:
    """Write `answers.jsonl` of so many questions: the plan misses every fourth, and cuts each recall short."""

    def write(folder: Path, count: int = 8, text: str = "Which one floats?") -> Path:
        questions = [Question(f"q{i}", f"{text} ({i})", {"A": "a nail", "B": "a log"}, "B") for i in range(count)]
        full = [_attempt(q, "B", "Wood floats on water.") for q in questions]
        plan = [_attempt(q, None if i % 4 == 3 else "B", "Wood sinks.") for i, q in enumerate(questions)]
        return write_answers(folder, questions, {"full depth": full, "litestage": plan, "adaskip": full})

    return write


@pytest.fixture
def folder(
    tmp_path: Path,
    results: dict[str, Any],
    plan: dict[str, Any],
    importance: dict[str, Any],
    profile: dict[str, Any],
    write_questions: Callable[..., Path],
) -> Path:
    """A run's folder with everything that the page is made from."""
    (tmp_path / "run" / "plan").mkdir(parents=True)
    documents = {"results": results, "plan/plan": plan, "importance": importance, "search": profile}
    for name, document in documents.items():
        (tmp_path / "run" / f"{name}.json").write_text(json.dumps(document))
    write_questions(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def experiment(results: dict[str, Any]) -> dict[str, Any]:
    """Every kind of panel: lines with both bars, bars with low and high, a map, a text."""
    columns = {
        "series": "series", "stage": "stage", "budget": "budget (sub-layers)", "accuracy": "accuracy (%)",
        "error": "standard error (points)", "low": "low end", "high": "high end", "text": "text", "cut": "cut",
    }  # fmt: skip
    empty = dict.fromkeys(columns)
    rows = [
        {**empty, "series": name, "stage": stage, "budget": budget, "accuracy": level, "error": 1.5, "low": 40.0,
         "high": 90.0}
        for name, level in (("with <exit>", 60.0), ("without", 50.0))
        for budget, stage in ((0, "recall"), (2, "analyze"), (4, "summarize"))
    ]  # fmt: skip
    rows.append({**empty, "series": "told", "stage": "recall", "text": "Wood floats", "cut": "on $5 of water."})
    blank = {"by": "", "value": "", "error": [], "x_error": [], "title": "", "where": {}}
    panels = [
        {**blank, "kind": "lines", "x": "budget", "y": "accuracy", "by": "series", "error": ["error"]},
        {**blank, "kind": "bars", "x": "stage", "y": "accuracy", "by": "series", "error": ["low", "high"]},
        {**blank, "kind": "map", "x": "budget", "y": "stage", "value": "accuracy", "where": {"series": "without"}},
        {**blank, "kind": "text", "x": "stage", "y": "text", "value": "cut", "where": {"series": "told"}},
    ]
    shared = ("run", "model", "num_sublayers", "benchmark", "seed", "environment")
    return {
        "format": "litestage-experiment", "version": 1, "name": "motivation", "title": "A title & more",
        "question": "What <happens>?", "split": "test", "n": 40, "attempts": 3, "repeats": 2, "batch_size": 16,
        "notes": ["A note."], **{name: results[name] for name in shared},
        "columns": [{"name": name, "title": title} for name, title in columns.items()],
        "rows": rows, "panels": panels,
    }  # fmt: skip

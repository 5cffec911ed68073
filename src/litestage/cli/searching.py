"""`search.py`: find the plan."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from rich.progress import Progress

from litestage import sharing
from litestage.cli.common import command, console, progress
from litestage.engine import Engine
from litestage.lit import tracking
from litestage.plan import Plan
from litestage.records import Question
from litestage.report.figures import draw_all
from litestage.report.profile import profile
from litestage.report.schema import validate
from litestage.report.table import search_table, show
from litestage.runs import journal_of, ranking_fact, together, trained_engine, trained_importance, weights_hash
from litestage.search.confidence import intervals, questions_needed
from litestage.search.cost import CostModel, calibrate, row_grid
from litestage.search.objective import Objective
from litestage.search.ranking import rank
from litestage.search.stagewise import Found, Tried, budgets
from litestage.search.stagewise import search as stagewise
from litestage.settings import Given
from litestage.text.benchmarks import load, split_hash

DISTURBED = 0.5
"""Relative error of a calibrated decode step beyond which the search says so."""


@command
def search(given: Given) -> dict[str, Any]:
    """Find the plan of least latency within eps of full depth's accuracy."""
    experiment, folder, settings = given.experiment, given.folder, given.experiment.search
    together(given)
    engine = trained_engine(given)
    importance = trained_importance(folder)
    validation = load(experiment.data, experiment.seed).validation
    questions = validation[: settings.questions]
    first = sharing.rank() == 0
    journal = journal_of(given, engine, questions)
    with tracking.tracked(experiment, "search") as logger, progress() as bar:
        cost = CostModel.from_json(journal.fact("cost", lambda: _calibrated(engine, questions, bar)))
        asked = validation[: settings.importance_questions]
        orders = journal.fact(ranking_fact(given), lambda: rank(engine, importance, asked, settings, cost))
        tries = 2 + len(engine.stage_names) * (len(budgets(engine.decoder.num_sublayers, settings)) - 1)
        task = bar.add_task("search", total=tries * len(questions))
        objective = Objective(
            engine,
            questions,
            cost,
            settings.racing,
            settings.racing_error,
            experiment.seed,
            journal,
            lambda n: bar.advance(task, n),
        )
        found = stagewise(objective, orders, settings, lambda t: bar.console.print(_line(t), highlight=False))
        sure = intervals(found.full_depth, found.final, experiment.seed)
        provenance = {
            "method": "litestage",
            "ranking": "given" if settings.order is not None else settings.ranking,
            "eps": settings.eps,
            "target": found.target,
            "full_depth_accuracy": found.full_depth.accuracy,
            "accuracy": found.final.accuracy,
            "confidence": sure,
            "benchmark": experiment.data.title,
            "questions": len(questions),
            "split": split_hash(questions),
            "weights": weights_hash(folder),
            "seed": experiment.seed,
        }
        plan = Plan(found.plan.model, found.plan.num_sublayers, found.plan.stages, provenance)
        document = profile(found, cost.to_json(), objective.spent, sure)
        validate(plan.to_json(), "plan")
        validate(document, "search")
        if first:
            plan.save_pretrained(folder / "plan")
            (folder / "search.json").write_text(json.dumps(document, indent=1) + "\n")
            columns = ["stage", "budget", "exit", "prefill", "accuracy", "latency", "stopped", "feasible", "chosen"]
            tracking.log_table(logger, "search/profile", columns, [[t[c] for c in columns] for t in document["trials"]])
            speedup = found.full_depth.seconds / found.final.seconds
            tracking.log_values(logger, {"search/accuracy": found.final.accuracy, "search/predicted_speedup": speedup})
            tracking.log_folder(logger, f"{experiment.run}-plan", "plan", folder / "plan")
            tracking.log_figures(logger, draw_all(folder))
    if first:
        show(search_table(document), sys.stderr)
        for line in (*_reasons(found), _saving(found, sure)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        _warn_of_too_few(found, settings.eps)
    return {
        "step": "search",
        "folder": str(folder),
        "budgets": plan.budgets,
        "accuracy": found.final.accuracy,
        "full_depth_accuracy": found.full_depth.accuracy,
        "target": found.target,
        "predicted_speedup": round(found.full_depth.seconds / found.final.seconds, 4),
        "early_exit": found.exit_kept,
        "generated_tokens": objective.spent.generated,
        "prefill_tokens": objective.spent.prefill,
    }


def _calibrated(engine: Engine, questions: Sequence[Question], bar: Progress) -> dict[str, Any]:
    """The cost model at the batch sizes of this pipeline on these questions."""
    rows = engine.rows_at_once(questions)
    task = bar.add_task("calibrate", total=len(row_grid(rows)))
    cost = calibrate(engine.decoder, rows, 100, lambda n: bar.advance(task, n))
    off = cost.fit["decode_max_relative_error"]
    if off > DISTURBED:
        warnings.warn(
            f"calibration: a decode step differs by {100 * off:.0f} % from what the others say. Is the machine busy "
            "with something else? The plan may not be the fastest: move search.jsonl away and search again later",
            stacklevel=2,
        )
    return cost.to_json()


def _line(tried: Tried) -> str:
    trial = tried.trial
    rule = f" exit {tried.choice.exit.threshold:.2f}" if tried.choice.exit else ""
    rule += " prefill too" if tried.choice.prefill else ""
    if trial.stopped:
        numbers = f"at most {100 * trial.accuracy:5.1f} %; given up after {len(trial.right)} ({trial.stopped})"
        return f"{tried.stage:>10} skip {tried.choice.budget:>3}{rule}: {numbers}"
    mark = "<- chosen" if tried.chosen else "" if tried.feasible else "below target"
    numbers = f"{100 * trial.accuracy:5.1f} %  {1000 * trial.seconds:8.1f} ms"
    return f"{tried.stage:>10} skip {tried.choice.budget:>3}{rule}: {numbers}  {mark}"


def _reasons(found: Found) -> list[str]:
    """For every stage why its budget was chosen."""
    out = []
    for stage in dict.fromkeys(t.stage for t in found.tried):
        tried = [t for t in found.tried if t.stage == stage]
        chosen = next(t for t in tried if t.chosen)
        feasible = sum(t.feasible for t in tried)
        out.append(
            f"{stage}: skips {chosen.choice.budget}, the fastest of {feasible} choices that reach "
            f"{100 * found.target:.1f} %; {len(tried) - feasible} do not, or were given up"
        )
    return out


def _saving(found: Found, sure: dict[str, Any]) -> str:
    change, speed = sure["accuracy_change"], sure["speedup"]
    return (
        f"predicted: {speed['value']:.2f} times as fast as full depth [{speed['low']:.2f}, {speed['high']:.2f}], "
        f"accuracy {100 * change['value']:+.1f} points [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}] "
        f"(95 % intervals, n = {sure['n']}, the questions it was searched on)"
    )


def _warn_of_too_few(found: Found, eps: float) -> None:
    count = questions_needed(found.full_depth, found.final, eps)
    if count is not None:
        warnings.warn(
            f"{found.full_depth.n} validation questions are too few to tell a loss of {100 * eps:g} points from none: "
            f"it would take about {count}; raise search.questions or data.validation_size, or search.eps",
            stacklevel=2,
        )

"""What the three scripts do. Each reads the same YAML and writes into `<root>/<run>`.

python train.py                                   # the embedded default
python search.py --config configs/smollm2_obqa.yaml --search.eps 0.02
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers.utils.logging import disable_progress_bar

from litestage.lit import tracking
from litestage.lit.callbacks import SAMPLE_COLUMNS, ExportModel, SampleTable, SubLayerImportance, sample_rows
from litestage.lit.curriculum import Listen
from litestage.lit.datamodule import QuestionData
from litestage.lit.evaluation import BASELINE, CONTROL, StagedEvaluation
from litestage.lit.tune import FineTune
from litestage.model.importance import Importance
from litestage.pipeline import Engine
from litestage.plan import Plan
from litestage.records import Question
from litestage.report.environment import environment
from litestage.report.figures import draw_all
from litestage.report.schema import read, validate
from litestage.report.table import results_table, search_table, show
from litestage.runs import make_trainer, model_name, needed, new_model, trained_engine, weights_hash, writable
from litestage.search.cost import CostModel, calibrate, row_grid
from litestage.search.objective import Objective
from litestage.search.policies import AdaSkip, nearest_budget
from litestage.search.stagewise import budgets, profile
from litestage.search.stagewise import search as stagewise
from litestage.settings import Given, parse
from litestage.text.benchmarks import load, split_hash

Command = Callable[..., dict[str, Any] | None]
console = Console(stderr=True)


def command(step: Callable[[Given], dict[str, Any]]) -> Command:
    """Turn a step into a script's main: parse, run, print a JSON line; bad input ends with its message, status 2."""

    @wraps(step)
    def main(argv: Sequence[str] | None = None, *, default: Path) -> dict[str, Any]:
        _quiet()
        try:
            summary = step(parse(argv, default))
        except (ValueError, FileNotFoundError, PermissionError, MisconfigurationException) as error:
            console.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
            sys.exit(2)
        print(json.dumps(summary))
        return summary

    return main


@command
def train(given: Given) -> dict[str, Any]:
    """Fine-tune, keep the best weights, rank the sub-layers."""
    experiment, folder = given.experiment, writable(given.folder)
    L.seed_everything(experiment.seed, verbose=False)
    splits = load(experiment.data, experiment.seed)
    model, tokenizer = new_model(experiment, splits)
    module = FineTune(experiment, model, tokenizer, model_name(experiment))
    (folder / "config.yaml").write_text(given.resolved)
    asked = list(splits.validation[: experiment.search.importance_questions])
    keep: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False}
    best = ModelCheckpoint(**keep, filename="best", monitor="val/accuracy", mode="max", save_weights_only=True)
    last = ModelCheckpoint(**keep, filename="last")
    with tracking.tracked(experiment, "train") as logger:
        extra = [
            best,
            last,
            ExportModel(folder, best),
            SubLayerImportance(folder, asked),
            SampleTable(experiment.tracking.samples),
            Listen(),
        ]
        extra += [LearningRateMonitor()] if logger else []
        table = CSVLogger(folder, name="metrics")
        trainer = make_trainer(given, [table, logger] if logger else [table], extra)
        resume = str(folder / "last.ckpt") if given.ckpt_path == "last" else given.ckpt_path
        trainer.fit(module, QuestionData(experiment, splits, tokenizer), ckpt_path=resume)
        return {
            "step": "train",
            "folder": str(folder),
            "validation_accuracy": round(float(best.best_model_score), 4)
            if best.best_model_score is not None
            else None,
            "train": len(splits.train),
            "validation": len(splits.validation),
        }


@command
def search(given: Given) -> dict[str, Any]:
    """Find the plan of least latency within eps of full depth's accuracy."""
    experiment, folder = given.experiment, given.folder
    engine = trained_engine(given)
    importance = Importance.from_json(read(needed(folder / "importance.json", "train.py"), "importance"))
    settings = experiment.search
    questions = load(experiment.data, experiment.seed).validation[: settings.questions]
    with tracking.tracked(experiment, "search") as logger, _progress() as bar:
        cost = _calibrated(engine, questions, bar) if settings.latency == "cost" else None
        tries = 2 + len(engine.stage_names) * (len(budgets(engine.decoder.num_sublayers, settings)) - 1)
        task = bar.add_task("search", total=tries * len(questions))
        objective = Objective(engine, questions, cost, lambda n: bar.advance(task, n))
        found = stagewise(objective, importance, settings, lambda t: bar.console.print(_line(t), highlight=False))
        provenance = {
            "method": "litestage",
            "eps": settings.eps,
            "target": found.target,
            "full_depth_accuracy": found.full_depth.accuracy,
            "accuracy": found.final.accuracy,
            "questions": len(questions),
            "split": split_hash(questions),
            "weights": weights_hash(folder),
            "latency": settings.latency,
            "seed": experiment.seed,
        }
        plan = Plan(found.plan.model, found.plan.num_sublayers, found.plan.stages, provenance)
        validate(plan.to_json(), "plan")
        plan.save_pretrained(folder / "plan")
        document = profile(found, cost.to_json() if cost else None)
        validate(document, "search")
        (folder / "search.json").write_text(json.dumps(document, indent=1) + "\n")
        columns = ["stage", "budget", "accuracy", "latency", "measured_seconds", "feasible", "chosen"]
        tracking.log_table(logger, "search/profile", columns, [[t[c] for c in columns] for t in document["trials"]])
        tracking.log_folder(logger, f"{experiment.run}-plan", "plan", folder / "plan")
        tracking.log_figures(logger, draw_all(folder))
    show(search_table(document), sys.stderr)
    return {
        "step": "search",
        "folder": str(folder),
        "budgets": plan.budgets,
        "accuracy": found.final.accuracy,
        "full_depth_accuracy": found.full_depth.accuracy,
        "target": found.target,
        "predicted_speedup": round(found.full_depth.seconds / found.final.seconds, 4),
        "early_exit": found.exit_kept and settings.exit_threshold is not None,
    }


@command
def evaluate(given: Given) -> dict[str, Any]:
    """Compare the plan with full depth and AdaSkip on the test questions."""
    experiment, folder = given.experiment, given.folder
    engine = trained_engine(given)
    plan = Plan.from_pretrained(folder / "plan")
    plan.check(engine.name, engine.decoder.num_sublayers, engine.stage_names)
    if plan.provenance.get("weights") not in (None, weights_hash(folder)):
        raise ValueError(f"{folder / 'plan'}: the model was trained again since this search; run search.py again")
    importance = Importance.from_json(read(needed(folder / "importance.json", "train.py"), "importance"))
    full = engine.full_depth()
    uniform = AdaSkip(importance, engine.stage_names)
    methods = {BASELINE: full, CONTROL: full, "litestage": plan, "litestage without exit": plan.without_exit()}
    methods[uniform.name] = uniform.plan(nearest_budget(plan))
    splits = load(experiment.data, experiment.seed)
    module = StagedEvaluation(engine, methods, experiment.evaluate, experiment.seed)
    data = QuestionData(experiment, splits, engine.tokenizer)
    together = min(data.questions_a_batch, engine.questions_at_once(splits.test))
    with tracking.tracked(experiment, "evaluate") as logger:
        make_trainer(given, [logger] if logger else [], []).test(module, data, verbose=False)
        results = _results(given, engine, module, together)
        validate(results, "results")
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        columns = [
            "name",
            "accuracy",
            "accuracy_stderr",
            "single_pass_accuracy",
            "unparsed_rate",
            "seconds_per_question",
        ]
        rows = [[m[c] for c in columns] + [m["speedup"]["median"]] for m in results["methods"]]
        tracking.log_table(logger, "evaluate/methods", [*columns, "speedup"], rows)
        shown = experiment.tracking.samples
        for name in (BASELINE, "litestage"):
            pairs = list(zip(module.questions, module.tallies[name].greedy, strict=True))[:shown]
            tracking.log_table(logger, f"evaluate/samples/{name}", SAMPLE_COLUMNS, sample_rows(pairs))
        tracking.log_figures(logger, draw_all(folder))
    show(results_table(results), sys.stderr)
    return {"step": "evaluate", "folder": str(folder), **_summary(results)}


def _quiet() -> None:
    """Keep the terminal for our own progress: no tips, no weight-loading bars, no notes about other libraries."""
    disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        "isinstance.treespec",
        "Checkpoint directory",
        "The number of training batches",
        "does not have many workers",
    ):
        warnings.filterwarnings("ignore", f".*{message}")


def _calibrated(engine: Engine, questions: Sequence[Question], bar: Progress) -> CostModel:
    """The cost model at the batch sizes of this pipeline on these questions."""
    fans_out = any(stage.fans_out for stage in engine.reasoning.stages)
    widest = max((len(question.options) for question in questions), default=1) if fans_out else 1
    rows = min(engine.reasoning.rows, engine.questions_at_once(questions) * widest)
    task = bar.add_task("calibrate", total=len(row_grid(rows)))
    return calibrate(engine.decoder, rows, 100, lambda n: bar.advance(task, n))


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        yield bar


def _line(tried: Any) -> str:
    trial = tried.trial
    mark = "<- chosen" if tried.chosen else "" if tried.feasible else "below target"
    numbers = f"{100 * trial.accuracy:5.1f} %  {1000 * trial.seconds:8.1f} ms"
    return f"{tried.stage:>10} skip {tried.budget:>3}: {numbers}  {mark}"


def _results(given: Given, engine: Engine, module: StagedEvaluation, together: int) -> dict[str, Any]:
    """The content of `results.json`."""
    experiment = given.experiment
    dtype = str(engine.decoder.dtype).removeprefix("torch.")
    return {
        "format": "litestage-results",
        "version": 1,
        "run": experiment.run,
        "model": engine.name,
        "num_sublayers": engine.decoder.num_sublayers,
        "benchmark": experiment.data.benchmark,
        "seed": experiment.seed,
        "methods": module.methods(),
        "timing": {
            "repeats": experiment.evaluate.repeats,
            "questions": module.timed,
            "batch_size": together,
            "control": CONTROL,
            "note": "greedy single passes; the methods take turns batch by batch; speed-ups are paired by repeat",
        },
        "environment": environment(str(engine.decoder.device), dtype),
    }


def _summary(results: dict[str, Any]) -> dict[str, Any]:
    keys = ("accuracy", "accuracy_stderr", "n", "single_pass_accuracy", "unparsed_rate")
    return {
        m["name"]: {**{k: round(m[k], 4) for k in keys}, "speedup": {k: round(v, 3) for k, v in m["speedup"].items()}}
        for m in results["methods"]
    }

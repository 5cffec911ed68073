"""`evaluate.py`: compare plans on the test questions, or make an experiment of the paper."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from litestage.cli.common import command, console
from litestage.cli.experimenting import make_experiments
from litestage.engine import Engine
from litestage.lit import tracking
from litestage.lit.callbacks import SAMPLE_COLUMNS, sample_rows
from litestage.lit.datamodule import QuestionData
from litestage.lit.evaluation import BASELINE, CONTROL, StagedEvaluation
from litestage.lit.kept import Kept
from litestage.plan import Plan
from litestage.report.answers import write_answers
from litestage.report.environment import environment
from litestage.report.figures import draw_all
from litestage.report.page import write_report
from litestage.report.schema import validate
from litestage.report.table import results_table, show
from litestage.runs import about, make_trainer, searched_plan, trained_engine, trained_importance
from litestage.search.policies import nearest_budget, peer
from litestage.settings import Given
from litestage.text.benchmarks import load

NOTE = "greedy single passes; the methods take turns batch by batch; speed-ups are paired by repeat"
RESUMED = "; the evaluation was stopped and went on later, each batch was timed in one process"


@command
def evaluate(given: Given) -> dict[str, Any]:
    """Compare the plan with full depth and other methods on the test questions, or make an experiment."""
    if given.experiment.evaluate.experiment is not None:
        return make_experiments(given)
    experiment, folder = given.experiment, given.folder
    engine = trained_engine(given)
    plan = searched_plan(folder, engine)
    importance = trained_importance(folder)
    full = engine.full_depth()
    own = {"litestage": plan, "litestage without exit": plan.without_exit()}
    methods = {BASELINE: full, CONTROL: full}
    for name in experiment.evaluate.methods:
        methods[name] = own.get(name) or peer(name, engine, importance, experiment.seed).plan(nearest_budget(plan))
    splits = load(experiment.data, experiment.seed)
    data = QuestionData(experiment, splits, engine.tokenizer)
    together = min(data.questions_a_batch, engine.questions_at_once(splits.test))
    with tracking.tracked(experiment, "evaluate") as logger:
        trainer = make_trainer(given, [logger] if logger else [], [])
        kept = Kept(folder, {**about(given, engine, splits.test), **_about(given, methods, trainer.world_size)})
        module = StagedEvaluation(engine, methods, experiment.evaluate, experiment.seed, kept)
        trainer.test(module, data, verbose=False)
        results = _results(given, engine, module, together, trainer.world_size)
        validate(results, "results")
        if not trainer.is_global_zero:
            kept.remove()
            return _summary(results)
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        write_answers(folder, module.questions, {name: tally.greedy for name, tally in module.tallies.items()})
        kept.remove()
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
        for name in [n for n in (BASELINE, "litestage") if n in methods]:
            pairs = list(zip(module.questions, module.tallies[name].greedy, strict=True))[:shown]
            tracking.log_table(logger, f"evaluate/samples/{name}", SAMPLE_COLUMNS, sample_rows(pairs))
        tracking.log_figures(logger, draw_all(folder, lambda problem: warnings.warn(problem, stacklevel=2)))
        page = write_report(folder)
        tracking.log_page(logger, "report", page)
    show(results_table(results), sys.stderr)
    console.print(f"the whole run on one page: {page}", markup=False, highlight=False, soft_wrap=True)
    return {"step": "evaluate", "folder": str(folder), **_summary(results)}


def _about(given: Given, methods: Mapping[str, Plan], processes: int) -> dict[str, Any]:
    """What passes and their times depend on besides what a search does."""
    settings = given.experiment.evaluate
    made_by = environment("cpu", "")
    return {
        "methods": {name: plan.to_json() for name, plan in methods.items()},
        **{name: getattr(settings, name) for name in ("attempts", "repeats", "timed_questions")},
        "seed": given.experiment.seed,
        **{name: getattr(given.experiment.reasoning, name) for name in ("temperature", "answer_pattern")},
        "processes": processes,
        **{name: made_by[name] for name in ("git", "platform", "threads")},
    }


def _results(given: Given, engine: Engine, module: StagedEvaluation, together: int, processes: int) -> dict[str, Any]:
    """The content of `results.json`."""
    experiment = given.experiment
    dtype = str(engine.decoder.dtype).removeprefix("torch.")
    return {
        "format": "litestage-results",
        "version": 1,
        "run": experiment.run,
        "model": engine.name,
        "num_sublayers": engine.decoder.num_sublayers,
        "benchmark": experiment.data.title,
        "seed": experiment.seed,
        "methods": module.methods(),
        "timing": {
            "repeats": experiment.evaluate.repeats,
            "questions": module.timed,
            "batch_size": together,
            "processes": processes,
            "control": CONTROL,
            "note": NOTE + (RESUMED if module.resumed else ""),
        },
        "environment": environment(str(engine.decoder.device), dtype),
    }


def _summary(results: dict[str, Any]) -> dict[str, Any]:
    keys = ("accuracy", "accuracy_stderr", "n", "single_pass_accuracy", "unparsed_rate")
    return {
        m["name"]: {**{k: round(m[k], 4) for k in keys}, "speedup": {k: round(v, 3) for k, v in m["speedup"].items()}}
        for m in results["methods"]
    }

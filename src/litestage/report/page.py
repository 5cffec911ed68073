"""`report.html`: one page about a run, or about two, that opens from disk and loads nothing.

    write_report(Path("checkpoints/miniworld"))                                   # .../miniworld/report.html
    write_report(Path("checkpoints/mine"), other=Path("checkpoints/miniworld"))   # the two compared

It is made from the run's files alone; `python -m litestage.report FOLDER [OTHER]` makes it again. Only `results.json`
must be there: a section without its file says which command makes it.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from litestage.config.judging import EXPERIMENTS
from litestage.report import answers, charts, experiment_charts, panels, summary, trials_chart
from litestage.report.browse import pack
from litestage.report.canvas import DARK, Chart
from litestage.report.schema import read
from litestage.report.words import PLAN, STOPS
from litestage.report.writing import write_whole

FILE = "report.html"
SOURCES = {
    "plan": ("plan/plan.json", "search.py"),
    "importance": ("importance.json", "train.py"),
    "search": ("search.json", "search.py"),
    "answers": (answers.FILE, "evaluate.py"),
}
"""Part of the page -> the file it is made from, and the script that writes that file."""

SUMMARIES = ("answer", "change_rows", "stage_rows", "method_rows")
"""Functions of `summary.py` that the template calls."""


@dataclass
class Run:
    """What a run's folder holds. A part that is not there, or cannot be read, is `None` and has a note that says so."""

    name: str
    results: dict[str, Any]
    plan: dict[str, Any] | None = None
    importance: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    answers: dict[str, Any] | None = None
    experiments: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


def write_report(folder: Path, other: Path | None = None) -> Path:
    """Write `report.html` into a run's folder.

    Args:
        folder: the run's folder.
        other: folder of a run to compare with; its methods join the table and the figure of accuracy and speed.

    Raises:
        FileNotFoundError: a folder or its `results.json` is not there; names the command that makes it.
        ValueError: a `results.json` is damaged or of another version.
        PermissionError: the folder cannot be written.
    """
    runs = [load_run(path) for path in ([folder] if other is None else [folder, other])]
    if len(runs) == 2 and runs[0].name == runs[1].name:
        runs[1].name += " (other)"
    return write_whole(folder / FILE, render(runs))


def load_run(folder: Path) -> Run:
    """Read a run's folder. Raises like `write_report`."""
    results = _results(folder)
    run = Run(results["run"], results)
    readers: dict[str, Callable[[Path], Any]] = {
        "plan": lambda path: read(path, "plan"),
        "importance": lambda path: read(path, "importance"),
        "search": lambda path: read(path, "search"),
        "answers": lambda path: pack(answers.read_answers(path)),
    }
    for part, reader in readers.items():
        file, script = SOURCES[part]
        path = folder / file
        if not path.is_file():
            run.notes[part] = f"{file} is not there; python {script} with this run's configuration makes it."
            continue
        try:
            setattr(run, part, reader(path))
        except ValueError as error:
            said = str(error).replace(str(path), file).removeprefix(f"{file}: ")
            run.notes[part] = f"{file} cannot be read: {said}. To make it anew, run python {script}."
    if run.search is not None and not run.search["trials"]:
        run.search, run.notes["search"] = None, "search.json has no trials; run python search.py to the end."
    _check_plan(run)
    _add_experiments(run, folder)
    return run


def _add_experiments(run: Run, folder: Path) -> None:
    """Read what `evaluate.experiment` wrote; one that cannot be read has a note."""
    bad = []
    for name in EXPERIMENTS:
        path = folder / "experiments" / f"{name}.json"
        if path.is_file():
            try:
                run.experiments.append(read(path, "experiment"))
            except ValueError as error:
                said = str(error).replace(f"{path}: ", "")
                again = f"python evaluate.py --evaluate.experiment {name}"
                bad.append(f"experiments/{name}.json cannot be read: {said}. To make it anew, run {again}.")
    if bad:
        run.notes["experiments"] = " ".join(bad)
    elif not run.experiments:
        run.notes["experiments"] = "None were made; python evaluate.py --evaluate.experiment all makes them."


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; a run's folder is checkpoints/<run>")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; run `python evaluate.py` with this run's configuration first")
    try:
        return read(path, "results")
    except ValueError as error:
        raise ValueError(f"{error}. Run `python evaluate.py` again, which writes the file anew") from error


def _check_plan(run: Run) -> None:
    """Note it when the plan at hand is not the one that was evaluated."""
    if run.plan is None:
        return
    measured = next((m["budgets"] for m in run.results["methods"] if m["name"] == PLAN), None)
    budgets = {name: len((s.get("later") or [s])[-1]["skip"]) for name, s in run.plan["stages"].items()}
    if measured is not None and measured != budgets:
        run.notes["stale"] = (
            f"The plan in this folder skips {budgets}, but results.json is about one that skips {measured}: "
            "run python evaluate.py again."
        )


def render(runs: list[Run]) -> str:
    """The page as a text: the first run, beside a second one where there are two."""
    page = Environment(loader=FunctionLoader(_packaged), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    page.globals.update({name: getattr(summary, name) for name in SUMMARIES})
    run = runs[0]
    figures = _charts(runs)
    experiments: list[dict[str, Any]] = [
        {
            "document": document,
            "about": panels.about(document),
            "charts": experiment_charts.experiment_charts(document),
            "texts": experiment_charts.texts(document),
            "table": experiment_charts.table(document),
        }
        for document in run.experiments
    ]
    every = [*figures, *(chart for one in experiments for chart in one["charts"])]
    return page.get_template("page.html").render(
        run=run,
        runs=runs,
        charts=figures,
        experiments=experiments,
        trials=summary.trial_rows(run.search) if run.search else [],
        data={
            "charts": {chart.id: chart.spec for chart in every},
            "dark": DARK,
            "answers": run.answers,
            "stops": STOPS,
        },
        css=_packaged("page.css"),
        script=_packaged("page.js"),
        plotly=_plotly(),
    )


def _charts(runs: list[Run]) -> list[Chart]:
    """The figures there is data for, in their order on the page."""
    run = runs[0]
    out = [charts.accuracy_chart({r.name: r.results for r in runs})]
    if run.search:
        out += trials_chart.search_charts(run.search)
    if run.importance:
        ranking = run.plan["provenance"].get("ranking") if run.plan else None
        out.append(charts.importance_chart(run.importance, ranking))
    if run.plan:
        out.append(charts.skips_chart(run.plan))
    return [*out, charts.budgets_chart(run.results), charts.tokens_chart(run.results)]


def _packaged(name: str) -> str:
    return files("litestage.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """plotly.js, packed: as it is it would take 4.9 MB, the page's browser unpacks it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()

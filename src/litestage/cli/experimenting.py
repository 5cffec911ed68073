"""`evaluate.py --evaluate.experiment NAME`: make an experiment, or all; write, show and track what it found.

python evaluate.py --evaluate.experiment motivation --evaluate.timed_questions 64
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from litestage.cli.common import console
from litestage.experiments import KNOWN, Bench, Result
from litestage.lit import tracking
from litestage.report.experiment_figure import draw_experiment
from litestage.report.page import write_report
from litestage.report.schema import validate
from litestage.report.table import experiment_table, show
from litestage.report.writing import write_whole
from litestage.runs import trained_engine
from litestage.settings import Given


def make_experiments(given: Given) -> dict[str, Any]:
    """Make the experiment that the settings name, or all that this run's files allow.

    Raises:
        FileNotFoundError: a file is missing; names the script that makes it. Of `all`, those that need it are left out.
        ValueError: a file is damaged or does not belong to this run.
    """
    asked = given.experiment.evaluate.experiment
    names = list(KNOWN) if asked == "all" else [str(asked)]
    bench, made, left_out = Bench(given, trained_engine(given)), {}, {}
    with tracking.tracked(given.experiment, "experiments") as logger:
        for name in names:
            console.print(f"experiment {name}", markup=False, highlight=False)
            try:
                result = KNOWN[name](bench)
            except (ValueError, FileNotFoundError) as error:
                if asked != "all":
                    raise
                left_out[name] = str(error)
                warnings.warn(f"without the experiment {name}: {error}", stacklevel=2)
                continue
            made[name] = str(_keep(bench, result, logger))
    if (given.folder / "results.json").is_file():
        _page(given.folder)
    return {"step": "evaluate", "folder": str(given.folder), "experiments": made, "left_out": left_out}


def _keep(bench: Bench, result: Result, logger: WandbLogger | None) -> Path:
    """Write JSON, CSV and picture, print the table, log table and picture; return the JSON's place."""
    document = result.document(bench.about())
    validate(document, "experiment")
    folder = bench.given.folder / "experiments"
    folder.mkdir(exist_ok=True)
    path = write_whole(folder / f"{result.name}.json", json.dumps(document, indent=1) + "\n")
    write_table(document, folder / f"{result.name}.csv")
    picture = draw_experiment(document, folder / f"{result.name}.png")
    columns = list(result.columns)
    tracking.log_table(
        logger, f"experiments/{result.name}", columns, [[row[c] for c in columns] for row in result.rows]
    )
    tracking.log_figures(logger, [picture])
    show(experiment_table(document), sys.stderr)
    return path


def write_table(document: Mapping[str, Any], path: Path) -> Path:
    """Write the flat table of an experiment as CSV; a missing value is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column["name"] for column in document["columns"]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(document["rows"])
    return path


def _page(folder: Path) -> None:
    """Write the page of the run anew; files it cannot be made from cost the page, not the experiments."""
    try:
        page = write_report(folder)
    except (ValueError, FileNotFoundError) as error:
        warnings.warn(f"no page: {error}", stacklevel=2)
        return
    console.print(f"the whole run on one page: {page}", markup=False, highlight=False, soft_wrap=True)

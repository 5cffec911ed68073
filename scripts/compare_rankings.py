"""Which ranking finds the better plans?

For several eps the plan each ranking leads to, its accuracy on validation and test questions, and the decode seconds it
saves as the cost model has them. Needs a finished `python train.py`. How well a ranking's scores follow the truth is
another question: `python evaluate.py --evaluate.experiment proxy`.

    python scripts/compare_rankings.py [--config ...] [--search.questions 100]

All options of the three scripts are taken. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from litestage.config import SearchSettings
from litestage.engine import Engine
from litestage.metrics import score
from litestage.model.importance import Importance
from litestage.pipeline import run
from litestage.records import Question
from litestage.reuse import Reuse
from litestage.runs import trained_engine, trained_importance
from litestage.search.cost import CostModel, calibrate
from litestage.search.objective import Objective
from litestage.search.ranking import rank
from litestage.search.stagewise import search
from litestage.settings import parse
from litestage.text.benchmarks import load

DEFAULT = Path(__file__).parents[1] / "configs" / "miniworld.yaml"
EPS = (0.01, 0.02, 0.04)
OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {"ranking": "cosine"},
    "cosine, each stage": {"ranking": "cosine-stage"},
    "loss": {"ranking": "loss"},
    "loss, greedy": {"ranking": "greedy"},
    "cosine, each stage, per second": {"ranking": "cosine-stage", "per_second": True},
    "loss, per second": {"ranking": "loss", "per_second": True},
    "loss, greedy, per second": {"ranking": "greedy", "per_second": True},
    "cosine, exit searched": {"ranking": "cosine", "exit_candidates": [0.3, 0.4, 0.5, 0.6, 0.7]},
}


@dataclass
class Bench:
    """A trained model with the questions that everything is measured on."""

    engine: Engine
    importance: Importance
    cost: CostModel
    settings: SearchSettings
    asked: Sequence[Question]
    """What rankings are made on."""
    validation: Sequence[Question]
    test: Sequence[Question]
    reuse: Reuse = field(default_factory=Reuse)

    def frontier(self) -> list[dict[str, Any]]:
        """One row an option and eps."""
        rows = []
        orders: dict[str, Mapping[str, Sequence[int]]] = {}
        for option, changes in OPTIONS.items():
            for eps in EPS:
                settings = replace(self.settings, eps=eps, exit_threshold=None, **changes)
                key = f"{settings.ranking} {settings.per_second}"
                if key not in orders:
                    orders[key] = rank(self.engine, self.importance, self.asked, settings, self.cost)
                objective = Objective(self.engine, self.validation, self.cost, settings.racing, reuse=self.reuse)
                found = search(objective, orders[key], settings)
                tested = run(self.engine, self.test, found.plan).attempts
                saved = 1 - found.final.decoding / found.full_depth.decoding
                rows.append(
                    {
                        "option": option,
                        "eps": eps,
                        "budgets": found.plan.budgets,
                        "validation_change": found.final.accuracy - found.full_depth.accuracy,
                        "test_accuracy": score(self.test, tested).accuracy,
                        "speedup": found.full_depth.seconds / found.final.seconds,
                        "saved_decode_share": saved,
                    }
                )
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        return rows


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the table."""
    given = parse(argv, DEFAULT)
    settings, engine = given.experiment.search, trained_engine(given)
    splits = load(given.experiment.data, given.experiment.seed)
    validation = splits.validation[: settings.questions]
    importance = trained_importance(given.folder)
    cost = calibrate(engine.decoder, engine.rows_at_once(validation), 100)
    asked = splits.validation[: settings.importance_questions]
    bench = Bench(engine, importance, cost, settings, asked, validation, splits.test)
    frontier = bench.frontier()
    n = {"validation": len(validation), "test": len(splits.test), "ranked_on": len(asked)}
    show(frontier, f"{given.experiment.run}, n = {n}")
    summary = {"run": given.experiment.run, "n": n, "frontier": frontier}
    print(json.dumps(summary))
    return summary


def show(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """The table, for people."""
    console = Console(file=sys.stderr, width=150)
    table = Table(title=f"{title}: plans", box=None)
    for header in ("eps", "ranking", "budgets", "validation", "test %", "speed-up", "decode saved", "of cosine"):
        table.add_column(header)
    cosine = {row["eps"]: row["saved_decode_share"] for row in rows if row["option"] == "cosine"}
    for row in sorted(rows, key=lambda row: row["eps"]):
        saved, base = row["saved_decode_share"], cosine[row["eps"]]
        table.add_row(
            f"{row['eps']:g}",
            row["option"],
            " / ".join(map(str, row["budgets"].values())),
            f"{100 * row['validation_change']:+.1f}",
            f"{100 * row['test_accuracy']:.1f}",
            f"{row['speedup']:.2f}",
            f"{100 * saved:.1f} %",
            f"{saved / base:.2f}" if base > 0 else "",
        )
    console.print(table)


if __name__ == "__main__":
    main()

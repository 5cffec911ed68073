"""What training left: how much the sub-layers change the residual stream, and how the losses fell.

dynamics(bench).rows[0]["step"]
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from litestage.experiments.bench import Bench
from litestage.experiments.result import Panel, Result
from litestage.experiments.sweeps import ACCURACY

KINDS = ("attention", "feed-forward")


def importance(bench: Bench) -> Result:
    """Fig. 8: which sub-layers matter, and to which stage?"""
    found = bench.importance
    rows = [
        {"stage": stage, "sublayer": j, "block": j // 2, "kind": KINDS[j % 2], "similarity": value, "rank": ranks[j]}
        for stage, values in found.stages.items()
        for ranks in [_ranks(values)]
        for j, value in enumerate(values)
    ]
    of: dict[str, Any] = {"kind": "map", "x": "block", "y": "stage", "value": "rank"}
    lines: dict[str, Any] = {"kind": "lines", "x": "sublayer", "y": "similarity", "by": "kind"}
    panels = [Panel(title=stage, where={"stage": stage}, **lines) for stage in found.stages]
    panels += [Panel(title=kind, where={"kind": kind}, **of) for kind in KINDS]
    return Result(
        "importance",
        "Similarity of the sub-layers, per stage",
        "Which sub-layers change the residual stream least, and is that the same in every stage?",
        {
            "stage": "stage",
            "sublayer": "sub-layer",
            "block": "block",
            "kind": "kind",
            "similarity": "cosine similarity of input and output",
            "rank": "rank in its stage (1 is skipped first)",
        },
        rows,
        panels,
        found.questions,
        "validation",
        notes=["Measured while prompts are read at full depth. Block j holds sub-layers 2j and 2j + 1."],
    )


def _ranks(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=lambda j: (-values[j], j % 2, j))
    return [order.index(j) + 1 for j in range(len(values))]


def dynamics(bench: Bench) -> Result:
    """Fig. 9: how do the losses fall, and when does validation follow?"""
    path = _newest(bench.given.folder)
    series = {f"train/loss_{stage}": stage for stage in bench.engine.stage_names}
    series["train/loss_exercise"] = "warm-up exercises"
    n = len(bench.splits.validation)
    blank = dict.fromkeys(("loss_nats", "accuracy_percent", "accuracy_stderr"))
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_lines(path), 2):
        for column, stage in series.items():
            if line.get(column):
                step, loss = _point(path, number, line, column)
                rows.append({**blank, "stage": stage, "step": step, "loss_nats": loss})
        if line.get("val/accuracy"):
            step, share = _point(path, number, line, "val/accuracy")
            error = 100 * sqrt(share * (1 - share) / n)
            marks = {"accuracy_percent": 100 * share, "accuracy_stderr": error}
            rows.append({**blank, "stage": "all stages", "step": step, **marks})
    if all(row["loss_nats"] is None for row in rows):
        raise ValueError(f"{path}: no losses ({', '.join(series)}); run `python train.py` again, which logs them")
    of: dict[str, Any] = {"kind": "lines", "x": "step", "by": "stage"}
    panels = [
        Panel(y="loss_nats", title="Training", **of),
        Panel(y="accuracy_percent", error=("accuracy_stderr",), title="Validation", **of),
    ]
    return Result(
        "dynamics",
        "Loss per stage and validation accuracy while training",
        "Do the stages learn at the same pace, and does the accuracy follow?",
        {
            "stage": "stage",
            "step": "training step",
            "loss_nats": "loss (nats / token)",
            **ACCURACY,
        },
        rows,
        panels if any(row["loss_nats"] is None for row in rows) else panels[:1],
        n,
        "validation",
        notes=[
            f"From {path.relative_to(bench.given.folder)}, the newest training. A loss is the mean over the tokens of "
            "one batch; the accuracy is that of greedy passes at full depth.",
        ],
    )


def _newest(folder: Path) -> Path:
    """The metrics of the last training; a training that was resumed begins a new file."""
    found = sorted(folder.glob("metrics/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    if not found:
        raise FileNotFoundError(
            f"{folder / 'metrics'}: no metrics.csv there; run `python train.py` with the same configuration first"
        )
    return found[-1]


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _point(path: Path, number: int, line: dict[str, str], column: str) -> tuple[int, float]:
    """Step and value of a column."""
    try:
        return int(line["step"]), float(line[column])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: line {number}: {column} is {line[column]!r} at step {line.get('step')!r}; both must be numbers"
        ) from error

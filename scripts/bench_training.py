"""What packing saves in fine-tuning: all stages of a question as one tree of tokens, against one sequence a stage.

Both learn the same from the same questions: their losses are compared. Forward and backward passes take turns, medians
count. Takes all options of train.py; the questions are the first `data.train_size` training ones.

    python scripts/bench_training.py --config configs/smollm2_obqa.yaml --data.train_size 32

The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from litestage.lit.batches import collate, tokenize
from litestage.lit.datamodule import QuestionData
from litestage.lit.tune import FineTune
from litestage.runs import model_name, new_model
from litestage.settings import parse
from litestage.text.benchmarks import load
from litestage.timing import spread, synchronize

DEFAULT = Path(__file__).parents[1] / "configs" / "miniworld.yaml"
REPEATS = 3
"""Timed passes over the questions, behind one that warms up."""
Batches = list[dict[str, Tensor]]


def batches(data: QuestionData, packed: bool) -> Batches:
    """The same questions, step by step: a row a question, or a row an example, those of like length together."""
    names, pad, out = [stage.name for stage in data.stages], int(data.tokenizer.pad_token_id), []
    for questions in data.train_batches(0):
        tokens = iter(tokenize(data.tokenizer, [example for row in questions for example in row], names))
        rows = [list(islice(tokens, len(row))) for row in questions]
        if not packed:
            rows = sorted(([one] for row in rows for one in row), key=lambda row: len(row[0].ids))
        size = data.settings.batch_size
        out += [collate(rows[start : start + size], pad) for start in range(0, len(rows), size)]
    return out


def passes(module: FineTune, steps: Batches, half: bool) -> tuple[float, float]:
    """Forward and backward over everything, `half` in bfloat16: seconds, mean loss a token."""
    losses, count = 0.0, 0
    synchronize(module.engine.decoder.device)
    start = time.perf_counter()
    for batch in steps:
        with torch.autocast(module.engine.decoder.device.type, torch.bfloat16, enabled=half):
            stages = module.stage_losses(batch)
        torch.stack([loss for loss, _ in stages.values()]).mean().backward()
        module.zero_grad()
        for name, (loss, _) in stages.items():
            own = batch["stages"] == module.engine.stage_names.index(name)
            losses += loss.item() * int(own.sum())
        count += len(batch["labels"])
    synchronize(module.engine.decoder.device)
    return time.perf_counter() - start, losses / count


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare both ways."""
    given = parse(argv, DEFAULT)
    experiment = given.experiment
    splits = load(experiment.data, experiment.seed)
    model, tokenizer = new_model(experiment, splits)
    module = FineTune(experiment, model, tokenizer, model_name(experiment))
    data = QuestionData(experiment, splits, tokenizer)
    ways = {"packed": batches(data, packed=True), "separate": batches(data, packed=False)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    losses = {}
    for repeat in range(REPEATS + 1):
        for way in [*ways][:: -1 if repeat % 2 else 1]:
            took, losses[way] = passes(module, ways[way], given.trainer["precision"] == "bf16-mixed")
            if repeat:
                seconds[way].append(took)
    n = len(splits.train)
    pad = int(tokenizer.pad_token_id)
    report = {way: _figures(steps, seconds[way], n, pad) for way, steps in ways.items()}
    _show(
        report, f"{experiment.run}: {module.engine.name}, {n} questions, batches of {experiment.data.batch_size} rows"
    )
    ratios = [slow / fast for slow, fast in zip(seconds["separate"], seconds["packed"], strict=True)]
    summary = {
        **report,
        "token_ratio": round(report["packed"]["tokens_per_question"] / report["separate"]["tokens_per_question"], 4),
        "speedup": {key: round(value, 3) for key, value in spread(ratios).items()},
        "loss_difference": abs(losses["packed"] - losses["separate"]),
        "n": n,
        "precision": given.trainer["precision"] or "32-true",
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(summary))
    return summary


def _figures(steps: Batches, seconds: Sequence[float], n: int, pad: int) -> dict[str, float]:
    padded = sum(batch["input_ids"].numel() for batch in steps)
    read = sum(int((batch["input_ids"] != pad).sum()) for batch in steps)
    typical = spread(seconds)["median"]
    return {
        "tokens_per_question": round(read / n, 2),
        "padding_share": round(1 - read / padded, 4),
        "tokens_per_second": round(read / typical, 1),
        "seconds_per_1000_questions": round(1000 * typical / n, 1),
    }


def _show(report: dict[str, dict[str, float]], title: str) -> None:
    table = Table(title=title, box=None)
    for header in ("", *next(iter(report.values()))):
        table.add_column(header.replace("_", " "))
    for way, figures in report.items():
        table.add_row(way, *(f"{value:g}" for value in figures.values()))
    Console(file=sys.stderr, width=140).print(table)


if __name__ == "__main__":
    main()

"""What parts of the engine bring: they are left out one after another, the same questions are answered, times compared.

python scripts/bench_changes.py --source <folder of OpenBookQA> --questions 4 --batches 1 16

All variants are in this process and take turns; medians count. The last line is the JSON summary.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bench_engine import build
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from litestage.config import DataSettings
from litestage.engine import Engine
from litestage.model import cache, head
from litestage.model.sublayers import Decoder
from litestage.pipeline import run
from litestage.records import Question
from litestage.text.benchmarks import load
from litestage.timing import spread

console = Console(stderr=True)


def variants(model: Any) -> dict[str, tuple[Decoder, int]]:
    """Name -> decoder and bytes a layer that may be held twice; each lacks one part more than the one before."""
    whole, spare = Decoder(model, fuse=True, pack=True), cache.SPARE
    with patch.object(head, "can_shorten", lambda _: False):
        exact = Decoder(model, fuse=True, pack=True)
    joined = Decoder(model, fuse=True)
    return {
        "all parts": (whole, spare),
        "the likeliest token from all logits": (exact, spare),
        "short beginnings shared": (exact, 0),
        "weights not packed": (joined, 0),
        "products not joined": (Decoder(model), 0),
    }


def compare(
    engine: Engine, made: dict[str, tuple[Decoder, int]], questions: Sequence[Question], batch: int, repeats: int
) -> dict[str, Any]:
    """Seconds of every variant, taking turns; ratios to the one before are taken turn by turn."""
    reasoning = replace(engine.reasoning, batch_size=batch)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    answers = []
    for turn in range(repeats + 1):  # the first turn warms up
        for name, (decoder, spare) in made.items():
            with patch.object(cache, "SPARE", spare):
                variant = replace(engine, decoder=decoder, reasoning=reasoning)
                start = time.perf_counter()
                result = run(variant, questions, variant.full_depth())
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                answers.append(result.attempts)
    found, before = {}, None
    for name, times in seconds.items():
        ratios = [t / b for t, b in zip(times, before or times, strict=True)]
        found[name] = {"seconds_per_question": spread([t / len(questions) for t in times]), "slower": spread(ratios)}
        before = times
    return {"same": all(answer == answers[0] for answer in answers), "variants": found}


def main() -> None:
    """Parse the arguments, run, print tables to stderr and the summary to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="checkpoints/base/SmolLM2-135M-Instruct")
    parser.add_argument("--source", help="folder of OpenBookQA; without it the embedded miniworld is asked")
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    disable_progress_bar()
    settings = DataSettings(**({"benchmark": "obqa", "source": args.source} if args.source else {}))
    questions = list(load(settings, seed=0).test)
    model, engine = build(args.model, "float32", questions)
    made, summary = variants(model), {}
    for batch in args.batches:
        asked = questions[: max(batch, args.questions)]
        summary[f"batch_{batch}"] = found = compare(engine, made, asked, batch, args.repeats)
        table = Table("left out, with those above", "s / question", "times as slow as the line above")
        table.title = f"{batch} questions at a time, {len(asked)} questions, same answers: {found['same']}"
        for name, values in found["variants"].items():
            each, slower = values["seconds_per_question"], values["slower"]
            ratio = f"{slower['median']:.2f} [{slower['low']:.2f}, {slower['high']:.2f}]"
            table.add_row(name, f"{each['median']:.3f}", ratio)
        console.print(table)
    print(json.dumps({"model": args.model, "data": args.source or "miniworld", "repeats": args.repeats} | summary))


if __name__ == "__main__":
    main()

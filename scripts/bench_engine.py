"""Time the engine against `model.generate` on the staged workload: same weights, dtype, prompts, greedy, same text.

python scripts/bench_engine.py --model checkpoints/base/SmolLM2-135M-Instruct --questions 16
python scripts/bench_engine.py --model tinyllama --questions 4        # that shape, random weights

Both run in this process and take turns; medians count. The last line is the JSON summary.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import stage_by_stage
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers.utils.logging import disable_progress_bar

from litestage.config import DataSettings, ReasoningSettings, three_stages
from litestage.model.load import load_base
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_tokenizer
from litestage.pipeline import Engine, Result, run
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.text.benchmarks import load
from litestage.timing import spread

SHAPES = {
    "tinyllama": LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    ),
    "qwen2.5-0.5b": Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
}
"""Random weights of these shapes: for speed alone."""
CAPS = {"recall": 24, "analyze": 24, "summarize": 8}
"""Tokens per output, near what a model fine-tuned on OpenBookQA writes."""
BATCHES = (1, 16)
SKIPS = {"20": range(20, 40), "30": range(15, 45)}
"""Sub-layers out of 60, scaled to the model's number: whole blocks in the middle."""
MIB = 2**20
console = Console(stderr=True)


@dataclass(frozen=True)
class Ceilings:
    """What this machine reaches on plain work: bytes read a second, floating-point operations a second."""

    read: float
    flops: float


class Endless(Engine):
    """An engine whose outputs all run to the cap, so that two plans do the same number of steps."""

    eos = ()  # type: ignore[assignment]


def main() -> None:
    """Parse the arguments, run, print tables to stderr and the summary to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="checkpoints/base/SmolLM2-135M-Instruct", help=f"folder, or {[*SHAPES]}")
    parser.add_argument("--source", help="folder of OpenBookQA; without it the embedded miniworld is asked")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--memory-questions", type=int, default=48, help="questions of the memory run; 0 leaves it out")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    disable_progress_bar()
    settings = DataSettings(**({"benchmark": "obqa", "source": args.source} if args.source else {}))
    questions = list(load(settings, seed=0).test)
    model, engine = build(args.model, args.dtype, questions)
    if args.memory_only:
        print(json.dumps(memory(engine, questions[: args.memory_questions])))
        return
    questions = questions[: args.questions]
    limits = ceilings(engine.decoder.dtype)
    console.print(f"ceilings: {limits.read / 1e9:.1f} GB/s, {limits.flops / 1e9:.0f} GFLOP/s")
    found: dict[str, Any] = {"same_text": True}
    for batch in BATCHES:
        for key, value in compare(model, engine, questions, batch, args.repeats, limits).items():
            if key == "same_text":
                found[key] &= value
            else:
                found.setdefault(key, {})[f"batch_{batch}"] = value
        for name, skipped in SKIPS.items():
            value = skipping(engine, questions[:batch], batch, args.repeats, skipped)
            found.setdefault(f"decode_speedup_skip{name}", {})[f"batch_{batch}"] = value
    if args.memory_questions:
        command = [sys.executable, *sys.argv, "--memory-only"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found |= json.loads(done.stdout)
    about = {"model": args.model, "data": args.source or "miniworld", "questions": len(questions), "dtype": args.dtype}
    about |= {"threads": torch.get_num_threads(), "repeats": args.repeats, "torch": torch.__version__}
    print(json.dumps(about | found))


def build(name: str, dtype: str, questions: Sequence[Question]) -> tuple[Any, Engine]:
    """The model and an engine around it."""
    stages = three_stages()
    for stage in stages:
        stage.max_new_tokens = CAPS[stage.name]
    if name not in SHAPES:
        model, tokenizer = load_base(name, dtype)
    else:
        texts = (q.text + " ".join(q.options.values()) for q in questions)
        tokenizer = tiny_tokenizer(texts, 1000)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(SHAPES[name], dtype=getattr(torch, dtype))
        with torch.no_grad():  # no token is chosen that the tokenizer cannot write
            model.lm_head.weight[len(tokenizer) :] = 0
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(device)
    model.generation_config.max_length = None
    return model, Engine(Decoder(model), tokenizer, ReasoningSettings(stages=stages), name)


def ceilings(dtype: torch.dtype) -> Ceilings:
    """Best of several sums over a large tensor and products of large matrices."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    large = torch.ones(2**28, device=device)
    square = torch.randn(3072, 3072, device=device, dtype=dtype)

    def best(work: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            work().reshape(-1)[0].item()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return Ceilings(large.numel() * 4 / best(large.sum), 2 * 3072**3 / best(lambda: square @ square))


def compare(
    model: Any, engine: Engine, questions: Sequence[Question], batch: int, repeats: int, limits: Ceilings
) -> dict[str, Any]:
    """Take turns over the same questions."""
    engine.reasoning.batch_size = batch
    plan, ours, theirs, walls = engine.full_depth(), [], [], []
    for turn in range(repeats + 1):  # the first turn warms up
        start = time.perf_counter()
        result = run(engine, questions, plan)
        wall = time.perf_counter() - start
        other = stage_by_stage.answer(model, engine.tokenizer, engine.reasoning, questions, batch)
        if turn:
            ours.append(result)
            walls.append(wall)
            theirs.append(other)
    texts = {(a.question_id, o.stage, o.label): o.text for a in ours[0].attempts for o in a.outputs}
    differing = sum(texts[key] != theirs[0].texts[key] for key in texts)
    speedup = spread([their.seconds / wall for their, wall in zip(theirs, walls, strict=True)])
    prefill = median(sum(u.prefill.seconds for u in r.usage.values()) for r in ours)
    decode = median(sum(u.decode.seconds for u in r.usage.values()) for r in ours)
    their = median(t.seconds for t in theirs)
    tokens = sum(u.trace.prefill_tokens for u in ours[0].usage.values())
    decoded = sum(o.tokens for a in ours[0].attempts for o in a.outputs)
    work = Work(engine, ours[0])
    n, wall = len(questions), median(walls)
    table = Table("", "engine", "generate", title=f"{batch} questions at a time, {n} questions, {decoded} tokens")
    table.add_row("seconds per question", f"{wall / n:.3f}", f"{their / n:.3f}")
    their_prefill = median(t.prefill_seconds for t in theirs)
    table.add_row("prefill share", f"{prefill / wall:.0%}", f"{their_prefill / their:.0%}")
    table.add_row("decode share", f"{decode / wall:.0%}", f"{1 - their_prefill / their:.0%}")
    table.add_row("prefilled tokens", str(tokens), str(theirs[0].prefill_tokens))
    table.add_row("tokens/s", f"{decoded / wall:.0f}", f"{decoded / their:.0f}")
    table.add_row("GB/s of weights, decode", f"{work.decode_bytes / decode / 1e9:.1f}", "")
    table.add_row("GFLOP/s, prefill", f"{work.prefill_flops / prefill / 1e9:.0f}", "")
    table.add_row("GFLOP/s, decode", f"{work.decode_flops / decode / 1e9:.0f}", "")
    console.print(table)
    return {
        "same_text": differing == 0,
        "differing_texts": f"{differing} of {len(texts)}",
        "end_to_end_speedup_vs_generate": round(speedup["median"], 3),
        "speedup_spread": [round(speedup["low"], 3), round(speedup["high"], 3)],
        "seconds_per_question": round(wall / n, 4),
        "prefill_share": round(prefill / wall, 3),
        "prefill_token_share": round(tokens / theirs[0].prefill_tokens, 3),
        "fraction_of_ceiling": round(work.least_seconds(limits) / wall, 3),
    }


class Work:
    """Bytes and operations of the weights that a run needed; attention over keys and values is left out.

    A decode step reads all kept weights once; a prefill call likewise. So the ceiling is an optimistic one.
    """

    def __init__(self, engine: Engine, result: Result) -> None:
        blocks = sum(p.numel() for block in engine.decoder.blocks for p in block.parameters())
        head = engine.decoder.head.weight.numel()
        size = engine.decoder.head.weight.element_size()
        traces = [usage.trace for usage in result.usage.values()]
        self.step_bytes = (blocks + head) * size
        self.steps: Mapping[int, int] = sum((t.steps for t in traces), start=traces[0].steps.__class__())
        self.row_flops = 2 * (blocks + head)
        self.prefill_flops = 2 * blocks * sum(t.prefill_tokens for t in traces)
        self.prefill_bytes = blocks * size * sum(t.prefill_calls for t in traces)
        self.decode_bytes = self.step_bytes * sum(self.steps.values())
        self.decode_flops = self.row_flops * sum(rows * n for rows, n in self.steps.items())

    def least_seconds(self, limits: Ceilings) -> float:
        """Seconds at the ceilings: each step and each prefill as slow as its slower resource allows."""
        decode = sum(
            n * max(self.step_bytes / limits.read, rows * self.row_flops / limits.flops)
            for rows, n in self.steps.items()
        )
        return decode + max(self.prefill_bytes / limits.read, self.prefill_flops / limits.flops)


def skipping(engine: Engine, questions: Sequence[Question], batch: int, repeats: int, skipped: range) -> float:
    """Decode seconds at full depth over those with a skip set, every output running to its cap."""
    endless = Endless(engine.decoder, engine.tokenizer, engine.reasoning, engine.name)
    engine.reasoning.batch_size = batch
    scale = engine.decoder.num_sublayers / 60
    skip = tuple(range(round(skipped.start * scale), round(skipped.stop * scale)))
    full = engine.full_depth()
    plan = Plan(full.model, full.num_sublayers, {name: StagePlan(skip) for name in full.stages})

    def seconds(plan: Plan) -> float:
        return sum(usage.decode.seconds for usage in run(endless, questions, plan).usage.values())

    ratios = [seconds(full) / seconds(plan) for _ in range(repeats + 1)][1:]
    return round(median(ratios), 3)


def memory(engine: Engine, questions: Sequence[Question]) -> dict[str, Any]:
    """Peak resident memory of answering at the largest batch, over weights plus the stated size of keys and values."""
    engine.reasoning.batch_size = max(BATCHES)
    run(engine, questions, engine.full_depth())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_rss_mib": round(peak / MIB)}


if __name__ == "__main__":
    main()

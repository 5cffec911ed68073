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
from collections.abc import Sequence
from statistics import median
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import stage_by_stage
import torch
from rich.console import Console
from rich.table import Table
from roofline import Ceilings, Work, ceilings
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers.utils.logging import disable_progress_bar

from litestage.config import DataSettings, ReasoningSettings, three_stages
from litestage.engine import Engine, encode
from litestage.memory import question_tokens, spare_tokens
from litestage.model.head import can_shorten
from litestage.model.load import load_base
from litestage.model.products import can_pack
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_tokenizer
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Question
from litestage.search.cost import calibrate
from litestage.text.benchmarks import load
from litestage.text.stages import render
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
    found["cost_model_error"] = forecast(engine, questions, args.repeats)
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
    return model, Engine(Decoder(model, fuse=True, pack=True), tokenizer, ReasoningSettings(stages=stages), name)


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


def skip_plan(engine: Engine, skip: tuple[int, ...]) -> Plan:
    """The same skip set in every stage."""
    full = engine.full_depth()
    return Plan(full.model, full.num_sublayers, {name: StagePlan(skip) for name in full.stages})


def scaled(engine: Engine, skipped: range) -> tuple[int, ...]:
    """Sub-layers of a model of 60, at the same depth of this one."""
    scale = engine.decoder.num_sublayers / 60
    return tuple(range(round(skipped.start * scale), round(skipped.stop * scale)))


def skipping(engine: Engine, questions: Sequence[Question], batch: int, repeats: int, skipped: range) -> float:
    """Decode seconds at full depth over those with a skip set, every output running to its cap."""
    endless = Endless(engine.decoder, engine.tokenizer, engine.reasoning, engine.name)
    engine.reasoning.batch_size = batch
    full, plan = engine.full_depth(), skip_plan(engine, scaled(engine, skipped))

    def seconds(plan: Plan) -> float:
        return sum(usage.decode.seconds for usage in run(endless, questions, plan).usage.values())

    ratios = [seconds(full) / seconds(plan) for _ in range(repeats + 1)][1:]
    return round(median(ratios), 3)


def memory(engine: Engine, questions: Sequence[Question]) -> dict[str, Any]:
    """Peak resident memory of answering at the largest batch, over weights plus the stated size of keys and values."""
    engine.reasoning.batch_size = max(BATCHES)
    run(engine, questions, engine.full_depth())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    decoder, stages = engine.decoder, engine.reasoning.stages
    first = [render(question, stages, 0, {})[""] for question in questions]
    prompt = max(map(len, encode(engine.tokenizer, first)))
    tokens = question_tokens(stages, prompt, max(len(q.options) for q in questions))
    kept = (max(BATCHES) * tokens + spare_tokens(decoder.layout)) * decoder.layout.token_bytes
    weights = Work.weights(decoder)
    packed = weights if can_pack(decoder.head.weight) else 0
    packed += decoder.head.weight.nbytes // 2 if can_shorten(decoder.head) else 0
    return {
        "peak_rss_mib": round(peak / MIB),
        "weights_mib": round(weights / MIB),
        "packed_mib": round(packed / MIB),
        "keys_and_values_mib": round(kept / MIB),
        "memory_questions": len(questions),
        "peak_rss_over_formula": round(peak / (weights + packed + kept), 3),
    }


def forecast(engine: Engine, questions: Sequence[Question], repeats: int) -> dict[str, float]:
    """Relative errors of the search's cost model on plans that it was not calibrated with, whole pipeline."""
    engine.reasoning.batch_size = batch = min(max(BATCHES), len(questions))
    cost = calibrate(engine.decoder, batch * max(len(q.options) for q in questions), 100)
    errors = {}
    for name, skipped in SKIPS.items():
        skip = scaled(engine, skipped)
        runs = [run(engine, questions, skip_plan(engine, skip)) for _ in range(repeats + 1)][1:]
        usage = list(runs[0].usage.values())
        said = sum(cost.prefill_seconds(u.trace) + cost.decode_seconds(u.trace.steps, skip) for u in usage)
        took = median(sum(u.seconds for u in r.usage.values()) for r in runs)
        errors[f"skip{name}"] = round(said / took - 1, 3)
    return errors


if __name__ == "__main__":
    main()

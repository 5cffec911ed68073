"""What the model is sure of, token by token: entropy and confidence per stage; one question with the cut part marked.

confidence(bench).rows[0]["running"]      # all rows of the stage
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from litestage.experiments.bench import Bench
from litestage.experiments.result import Panel, Result, Row
from litestage.experiments.sweeps import with_exit
from litestage.plan import ExitRule, Plan
from litestage.records import Attempt, Question, StageOutput
from litestage.report.words import FULL, PLAN
from litestage.search.effects import StageLosses


def entropy(bench: Bench) -> Result:
    """Fig. 1b: how uncertain is the next token, stage by stage?"""
    rows = []
    for name, plan in _both(bench):
        attempts = bench.answers(plan, bench.validation)
        for attempt in attempts:
            bench.generated(attempt, plan)  # refuses plans that skip in prefill
        for stage in bench.engine.stage_names:
            of = StageLosses(bench.engine, bench.reuse, attempts, stage, plan.stages[stage]).entropies()
            told = [[of[o.prompt] for o in a.outputs if o.stage == stage and o.prompt in of] for a in attempts]
            means = [mean([value for values in question for value in values]) for question in told if question]
            rows.append(
                {
                    "plan": name,
                    "stage": stage,
                    "entropy_nats": mean(means),
                    "entropy_stderr": _stderr(means),
                    "questions": len(means),
                }
            )
    return Result(
        "entropy",
        "Entropy of the next token, per stage",
        "Are some stages surer of their words than others, so that less depth does for them?",
        {
            "plan": "plan",
            "stage": "stage",
            "entropy_nats": "entropy (nats / token)",
            "entropy_stderr": "standard error over questions (nats / token)",
            "questions": "questions",
        },
        rows,
        [Panel("bars", "stage", "entropy_nats", by="plan", error=("entropy_stderr",))],
        len(bench.validation),
        "validation",
        notes=[
            "The outputs are read again in one pass, with the sub-layers skipped that were skipped when they were "
            "written. A question's tokens are averaged first. An output's first token comes from full depth in both.",
        ],
    )


def confidence(bench: Bench) -> Result:
    """Fig. 4: does the confidence fade in the course of an output?"""
    rows, panels = [], []
    for name, plan in _both(bench):
        found: dict[str, list[Sequence[float]]] = {stage: [] for stage in bench.engine.stage_names}
        for attempt in bench.answers(plan, bench.validation):
            for output, generated in bench.generated(attempt, plan):
                found[output.stage].append(generated.confidences)
        for stage, outputs in found.items():
            rows += [{"plan": name, "stage": stage, **point} for point in _course(outputs)]
    of: dict[str, Any] = {"kind": "lines", "x": "token", "by": "plan"}
    for stage in bench.engine.stage_names:
        where = {"stage": stage}
        panels.append(Panel(y="confidence", error=("confidence_stderr",), title=stage, where=where, **of))
    panels += [Panel(y="running", title=stage, where={"stage": stage}, **of) for stage in bench.engine.stage_names]
    return Result(
        "confidence",
        "Confidence in the course of an output",
        "Does the confidence fade where an output rambles on, and how many are still running then?",
        {
            "plan": "plan",
            "stage": "stage",
            "token": "token of the output (the first is 1)",
            "running": "outputs still running",
            "confidence": "confidence (mean probability of the likeliest token)",
            "confidence_stderr": "standard error over outputs",
        },
        rows,
        panels,
        len(bench.validation),
        "validation",
        notes=["Means over the outputs that reach a token; where few are running, a mean says little."],
    )


def example(bench: Bench) -> Result:
    """Fig. 7: what do skipping and early exit do to a text?"""
    settings = bench.settings.search
    skipping = bench.plan.without_exit()
    rule = ExitRule(settings.exit_window, settings.exit_threshold or 0.5)
    fixed = {"full depth": bench.engine.full_depth(), "skipping": skipping}
    exits = bench.plan if bench.plan != skipping else with_exit(bench, bench.plan, rule)
    tables = {name: bench.answers(plan, bench.test) for name, plan in {**fixed, "skipping and exit": exits}.items()}
    number = _telling(tables)
    question = bench.test[number]
    rest = _cut_parts(bench, exits, question)
    rows = []
    for name, attempts in tables.items():
        for output in attempts[number].outputs:
            cut = rest.get((output.stage, output.label), "") if name == "skipping and exit" else ""
            rows.append(
                {
                    "plan": name,
                    "output": output.stage + (f", option {output.label}" if output.label else ""),
                    "text": output.text,
                    "cut": cut,
                    "tokens": output.tokens,
                    "stopped_by": output.stop,
                    "answer": attempts[number].answer,
                }
            )
    options = " ".join(f"({label}) {text}" for label, text in question.options.items())
    return Result(
        "example",
        "One question at full depth, with skipping, with skipping and exit",
        f"{question.text} {options} (right: {question.answer})",
        {
            "plan": "plan",
            "output": "output",
            "text": "text",
            "cut": "what it would have gone on with",
            "tokens": "tokens",
            "stopped_by": "stopped by",
            "answer": "answer",
        },
        rows,
        [Panel("text", "output", "text", value="cut", title=name, where={"plan": name}) for name in tables],
        1,
        notes=[
            f"Test question {question.id}: the first that exit cuts, or else that skipping changes, if there is one."
        ],
    )


def _both(bench: Bench) -> list[tuple[str, Plan]]:
    return [(FULL, bench.engine.full_depth()), (PLAN, bench.plan)]


def _course(outputs: Sequence[Sequence[float]]) -> Iterator[Row]:
    """Token by token: how many outputs get so far, and their mean confidence there."""
    for token in range(max(map(len, outputs), default=0)):
        there = [output[token] for output in outputs if len(output) > token]
        yield {
            "token": token + 1,
            "running": len(there),
            "confidence": mean(there),
            "confidence_stderr": _stderr(there),
        }


def _stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean; one value has none."""
    return float(stdev(values) / len(values) ** 0.5) if len(values) > 1 else None


def _telling(tables: Mapping[str, Sequence[Attempt]]) -> int:
    """The question to show."""
    full, skipping, exits = tables.values()
    cut = (i for i, attempt in enumerate(exits) if any(output.stop == "confidence" for output in attempt.outputs))
    changed = (i for i, pair in enumerate(zip(full, skipping, strict=True)) if _texts(pair[0]) != _texts(pair[1]))
    return next(cut, next(changed, 0))


def _texts(attempt: Attempt) -> list[str]:
    return [output.text for output in attempt.outputs]


def _cut_parts(bench: Bench, plan: Plan, question: Question) -> dict[tuple[str, str], str]:
    """Stage and option -> the text its exit cut off: what it writes if the stages before it exit and it does not."""
    found: dict[tuple[str, str], str] = {}
    names = bench.engine.stage_names
    (cut,) = bench.answers(plan, [question])
    for index, stage in enumerate(names):
        later = {name: replace(plan.stages[name], exit=None) for name in names[index:]}
        (whole,) = bench.answers(replace(plan, stages={**plan.stages, **later}), [question])
        for output, longer in zip(cut.outputs, whole.outputs, strict=True):
            if output.stage == stage and output.stop == "confidence":
                found[stage, output.label] = _rest(output, longer)
    return found


def _rest(output: StageOutput, longer: StageOutput) -> str:
    """What the longer text has behind the other; a token may be half a sign, so the two need not agree to the last."""
    agree = next((i for i, pair in enumerate(zip(output.text, longer.text, strict=False)) if len({*pair}) > 1), None)
    return longer.text[len(output.text) if agree is None else agree :].strip()

"""Do the rankings know what a sub-layer is worth? Their scores against skipping one sub-layer in one stage alone.

    proxy(bench).rows[-1]["spearman"]

The truth has three sides: lost accuracy, changed tokens, and the likelihood lost on what full depth wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from litestage.experiments.bench import Bench
from litestage.experiments.result import Panel, Result
from litestage.metrics import score
from litestage.model.decode import Generated
from litestage.plan import Plan, StagePlan
from litestage.records import Attempt
from litestage.search.effects import StageLosses

RESAMPLES = 2000
TRUTHS = {
    "lost_accuracy": "accuracy lost (points)",
    "changed_tokens": "tokens changed (% of the stage's)",
    "lost_likelihood": "log-likelihood lost (nats / token)",
}
SCORES = {
    "cosine": "1 - cosine similarity, mean over stages",
    "cosine_stage": "1 - cosine similarity, this stage",
    "loss": "rise of the loss on full depth's outputs (nats / token)",
}
"""Scores of the rankings of `search.ranking`: high is harmful. (`greedy` begins with the order of `loss`.)"""


def proxy(bench: Bench) -> Result:
    """Does a ranking's score follow the true effect of a sub-layer?"""
    rows: list[dict[str, Any]] = []
    for stage in bench.engine.stage_names:
        scores, truths = _scores(bench, stage), _truths(bench, stage)
        found = {**scores, **truths}
        blank = dict.fromkeys(("ranking", "truth", "spearman", "spearman_low", "spearman_high"))
        for j in range(bench.engine.decoder.num_sublayers):
            values = {name: column[j] for name, column in found.items()}
            rows.append({"table": "effects", "stage": stage, "sublayer": j, **values, **blank})
        for ranking, guess in scores.items():
            for truth, effect in truths.items():
                value, low, high = interval(guess, effect, bench.settings.seed)
                told = {"ranking": ranking, "truth": truth}
                limits = {"spearman": value, "spearman_low": low, "spearman_high": high}
                empty = {"sublayer": None, **dict.fromkeys(found)}
                rows.append({"table": "correlations", "stage": stage, **empty, **told, **limits})
    of: dict[str, Any] = {"kind": "bars", "x": "stage", "y": "spearman", "by": "ranking"}
    error = ("spearman_low", "spearman_high")
    panels = [
        Panel(error=error, title=name.replace("_", " "), where={"table": "correlations", "truth": name}, **of)
        for name in TRUTHS
    ]
    effects = {"table": "effects"}
    panels += [
        Panel("map", "sublayer", "stage", value=name, title=name.replace("_", " "), where=effects) for name in TRUTHS
    ]
    asked = len(bench.splits.validation[: bench.settings.search.importance_questions])
    return Result(
        "proxy",
        "The rankings against the true effect of one sub-layer",
        "Does a ranking's score tell which sub-layer can be left out?",
        {
            "table": "table",
            "stage": "stage",
            "sublayer": "sub-layer skipped alone",
            **SCORES,
            **TRUTHS,
            "ranking": "ranking",
            "truth": "true effect",
            "spearman": "Spearman's rank correlation",
            "spearman_low": "low end of its 95 % interval",
            "spearman_high": "high end of its 95 % interval",
        },
        rows,
        panels,
        len(bench.validation),
        "validation",
        notes=[
            f"Scores of 'loss' on {asked} questions. Intervals: bootstrap over the sub-layers, {RESAMPLES} resamples.",
            "Likelihood is measured like 'loss', on all questions: how well the two agree shows what more questions "
            "would change.",
        ],
    )


def _scores(bench: Bench, stage: str) -> dict[str, list[float]]:
    """Ranking -> what it says of each sub-layer's harm."""
    engine = bench.engine
    some = bench.answers(engine.full_depth(), bench.splits.validation[: bench.settings.search.importance_questions])
    losses = StageLosses(engine, bench.reuse, some, stage)
    return {
        "cosine": [1 - s for s in bench.importance.similarity],
        "cosine_stage": [1 - s for s in bench.importance.stages[stage]],
        "loss": [losses.rise({j}) for j in range(engine.decoder.num_sublayers)],
    }


def _truths(bench: Bench, stage: str) -> dict[str, list[float]]:
    """What skipping each sub-layer in this stage alone does."""
    engine, questions = bench.engine, bench.validation
    plan = engine.full_depth()
    full = bench.answers(plan, questions)
    right = score(questions, full).accuracy
    losses = StageLosses(engine, bench.reuse, full, stage)
    out: dict[str, list[float]] = {name: [] for name in TRUTHS}
    for j in range(engine.decoder.num_sublayers):
        alone = replace(plan, stages={**plan.stages, stage: StagePlan((j,))})
        attempts = bench.answers(alone, questions)
        pairs = [
            (before, after)
            for one, other in zip(full, attempts, strict=True)
            for before, after in zip(_of(bench, one, plan, stage), _of(bench, other, alone, stage), strict=True)
        ]
        out["lost_accuracy"].append(100 * (right - score(questions, attempts).accuracy))
        out["changed_tokens"].append(100 * changed(pairs))
        out["lost_likelihood"].append(losses.rise({j}))
    return out


def _of(bench: Bench, attempt: Attempt, plan: Plan, stage: str) -> list[Generated]:
    return [generated for output, generated in bench.generated(attempt, plan) if output.stage == stage]


def changed(pairs: Sequence[tuple[Generated, Generated]]) -> float:
    """Share of the tokens that differ place by place; what only one of two outputs has differs."""
    same = total = 0
    for before, after in pairs:
        same += sum(a == b for a, b in zip(before.tokens, after.tokens, strict=False))
        total += max(len(before.tokens), len(after.tokens))
    return 1 - same / total if total else 0.0


def interval(guess: Sequence[float], effect: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Spearman's correlation with its 95 % interval, sub-layers resampled."""
    draw = np.random.default_rng(seed).integers(0, len(guess), (RESAMPLES, len(guess)))
    resampled = spearman(np.array(guess)[draw], np.array(effect)[draw])
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(spearman(np.array(guess), np.array(effect))), float(low), float(high)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlation along the last axis; ties share their mean rank. 0 when one side is constant."""
    x, y = _centred(a), _centred(b)
    both = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return np.asarray((x * y).sum(-1) / np.where(both, both, 1.0))


def _centred(values: np.ndarray) -> np.ndarray:
    """Ranks less their mean."""
    above, same = (values[..., :, None] > values[..., None, :]), (values[..., :, None] == values[..., None, :])
    ranks = above.sum(-1) + (same.sum(-1) - 1) / 2
    return np.asarray(ranks - ranks.mean(-1, keepdims=True))

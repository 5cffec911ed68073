"""In which order sub-layers are skipped: by similarity over the stages of the real pipeline, or by measured effect.

importance = measure_importance(engine, questions)          # LiteStage, step 1
orders = rank(engine, importance, questions, settings, cost)    # stage -> sub-layers, the first to skip first
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from litestage import sharing
from litestage.config import SearchSettings
from litestage.engine import Engine, encode
from litestage.model.importance import Importance, measure_prompts
from litestage.pipeline import run
from litestage.records import Question
from litestage.reuse import Reuse
from litestage.search.cost import CostModel
from litestage.search.effects import StageLosses, greedy_order, worth


def measure_importance(
    engine: Engine, questions: Sequence[Question], progress: Callable[[int], None] | None = None
) -> Importance:
    """Mean similarities and norm ratios per stage, over the prompts that full depth meets on `questions`.

    The option prompts of a question are averaged first, then the questions; a stage's prompt holds the outputs of
    the stages before it, so generated tokens are included. Processes that work together share the questions.

    Raises:
        ValueError: no questions.
    """
    if not questions:
        raise ValueError("importance needs at least one question")
    means: dict[str, list[torch.Tensor]] = {name: [] for name in engine.stage_names}
    for attempt in run(engine, sharing.share(questions), engine.full_depth()).attempts:
        prompts: dict[str, list[str]] = defaultdict(list)
        for output in attempt.outputs:
            prompts[output.stage].append(output.prompt)
        for stage, texts in prompts.items():
            parts = measure_prompts(engine.decoder, encode(engine.tokenizer, texts))
            means[stage].append(torch.cat([part.mean(0) for part in parts]))
        if progress:
            progress(sharing.processes())
    shares = sharing.gather(means)
    # Summed in the order of the questions, so that the number of processes changes no digit.
    count = engine.decoder.num_sublayers
    stages = {
        name: torch.stack(sharing.interleave([s[name] for s in shares])).mean(0).split((count, count, count // 2))
        for name in engine.stage_names
    }
    similarity, ratios, blocks = ({name: parts[i].tolist() for name, parts in stages.items()} for i in range(3))
    return Importance(engine.name, similarity, len(questions), ratios, blocks)


def rank(
    engine: Engine,
    importance: Importance,
    questions: Sequence[Question],
    settings: SearchSettings,
    cost: CostModel,
) -> dict[str, list[int]]:
    """Stage -> sub-layers in the order they are skipped, as `settings` ask for it.

    Args:
        engine: the model and its stages.
        importance: similarities; of the same model.
        questions: what effects are measured on.
        settings: `ranking`, `per_second`, `order`.
        cost: what a sub-layer saves.

    Raises:
        ValueError: the importance is of another model or other stages, or `order` names what the model lacks.
    """
    count = engine.decoder.num_sublayers
    if (importance.model, len(importance.order)) != (engine.name, count):
        raise ValueError(
            f"the importance was measured on {importance.model} ({len(importance.order)} sub-layers) but the model "
            f"is {engine.name} ({count}); run train.py again"
        )
    if set(importance.stages) != {*engine.stage_names}:
        raise ValueError(
            f"the importance was measured for the stages {sorted(importance.stages)}, the pipeline has "
            f"{sorted(engine.stage_names)}; run train.py again"
        )
    if settings.order is not None:
        wrong = [j for j in settings.order if j not in range(count)]
        if wrong or len({*settings.order}) < len(settings.order):
            raise ValueError(f"search.order is {settings.order}; it may name each of 0 to {count - 1} once")
        return {name: list(settings.order) for name in engine.stage_names}
    saved = _saved(cost, engine.reasoning.rows if settings.per_second else 0)
    if settings.ranking in ("cosine", "cosine-stage"):
        averaged = settings.ranking == "cosine"
        return {
            name: order_by([1 - s for s in (importance.similarity if averaged else importance.stages[name])], saved)
            for name in engine.stage_names
        }
    reuse = Reuse()
    attempts = run(engine, questions, engine.full_depth(), reuse=reuse).attempts
    orders = {}
    for name in engine.stage_names:
        losses = StageLosses(engine, reuse, attempts, name)
        singles = [losses.rise({j}) for j in range(count)]
        depth = settings.max_budget if settings.max_budget is not None else count
        greedy = settings.ranking == "greedy"
        orders[name] = greedy_order(losses.rise, singles, depth, saved) if greedy else order_by(singles, saved)
    return orders


def order_by(effects: Sequence[float], saved: Sequence[float]) -> list[int]:
    """Least harm a second saved first; ties go to attention, then to the lower block."""
    if len({*saved}) == 1:
        return sorted(range(len(effects)), key=lambda j: (effects[j], j % 2, j))
    return sorted(range(len(effects)), key=lambda j: (worth(effects[j], saved[j]), j % 2, j))


def _saved(cost: CostModel, rows: int) -> list[float]:
    """Seconds that each sub-layer saves in a step of so many rows; all the same for 0 rows."""
    if not rows:
        return [1.0] * cost.num_sublayers
    full = cost.step_seconds(rows)
    return [max(full - cost.step_seconds(rows, {j}), 1e-9) for j in range(cost.num_sublayers)]

"""Sub-layer importance over the stages of the real pipeline (LiteStage, step 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from litestage.model.importance import Importance, prompt_similarity
from litestage.pipeline import Engine, encode, run
from litestage.records import Question


def measure_importance(
    engine: Engine, questions: Sequence[Question], progress: Callable[[int], None] | None = None
) -> Importance:
    """Mean similarity of every sub-layer per stage, over the prompts that full depth meets on `questions`.

    The option prompts of a question are averaged first, then the questions; a stage's prompt holds the outputs of
    the stages before it, so generated tokens are included.

    Raises:
        ValueError: no questions.
    """
    if not questions:
        raise ValueError("importance needs at least one question")
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(engine.decoder.num_sublayers))
    for attempt in run(engine, questions, engine.full_depth()).attempts:
        prompts: dict[str, list[str]] = defaultdict(list)
        for output in attempt.outputs:
            prompts[output.stage].append(output.prompt)
        for stage, texts in prompts.items():
            sums[stage] += prompt_similarity(engine.decoder, encode(engine.tokenizer, texts)).mean(0)
        if progress:
            progress(1)
    stages = {name: (sums[name] / len(questions)).tolist() for name in engine.stage_names}
    return Importance(engine.name, stages, len(questions))

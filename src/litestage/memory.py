"""How much memory keys and values take, and how many questions fit.

A stage keeps, per question and attempt, its prompt once and for every option that has a sequence of its own the cue
and the new tokens; the stage before stays until its beginnings are reused; decoding copies what belongs to one row.
Beginnings that are cheap to hold twice (`cache.SPARE`) are not shared: a fixed size on top of that, `spare_tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence

from litestage.config import StageSettings
from litestage.model.cache import Layout

CUE = 24
"""Tokens allowed for what a template adds to an output: a cue, a full stop, a heading."""
GIB = 2**30


def question_tokens(stages: Sequence[StageSettings], prompt: int, options: int, attempts: int = 1) -> int:
    """Most tokens whose keys and values one question needs at any moment.

    Args:
        stages: the pipeline.
        prompt: tokens of the question's first prompt.
        options: number of its options.
        attempts: self-consistency passes run together.
    """
    most, before = 0, 0
    for stage in stages:
        sequences = options if stage.fans_out else 1
        held = prompt + sequences * (CUE + stage.max_new_tokens)
        copied = sequences * CUE if stage.fans_out else prompt
        most = max(most, before + held + copied)
        before = held
        prompt += sequences * (CUE + stage.max_new_tokens)
    return attempts * most


def spare_tokens(layout: Layout) -> int:
    """Most tokens that are held twice at any moment, of all questions: by two stages' prompts, and by decoding."""
    return 4 * layout.spare


def questions_that_fit(memory: float, bytes_each: int, spare: int = 0) -> int:
    """Questions that fit in `memory` GiB at once, next to `spare` bytes.

    Raises:
        ValueError: not even one does.
    """
    fitting = int((memory * GIB - spare) / bytes_each)
    if fitting < 1:
        raise ValueError(
            f"one question needs up to {(bytes_each + spare) / GIB:.2f} GiB of keys and values but reasoning.memory is "
            f"{memory:g} GiB; raise it, or lower the stages' max_new_tokens"
        )
    return fitting


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the CPU."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)

"""The plain records that travel from a question to its verdict.

Reading order for a newcomer: this file, `pipeline.py`, `model/decode.py`, `search/stagewise.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

StopReason = Literal["eos", "confidence", "cap", "no room"]
"""Why a row stopped: it ended by itself, its confidence faded, it reached the token cap, or the outputs of the stages
before it left no room in the model's context for even one token."""

StageTexts = Mapping[str, Mapping[str, str]]
"""Stage name -> option label -> text. A stage without fan-out has the one label `""`."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question. Options are data; they are never parsed out of a text."""

    id: str
    text: str
    options: Mapping[str, str]
    """Option label (`A`, `B`, ...) -> option text, in the order shown."""
    answer: str | None = None
    """Gold label; `None` when unknown."""


@dataclass(frozen=True)
class Rationale:
    """Written reasoning of one training question: the text of every stage before the last."""

    id: str
    texts: StageTexts
    where: str = field(default="", compare=False)
    """File and line it was read from, for messages."""


@dataclass(frozen=True)
class StageOutput:
    """What one stage produced for one question, attempt and (where it fans out) option."""

    stage: str
    label: str
    prompt: str
    text: str
    """The text as generated, stripped."""
    tokens: int
    """Generated tokens, the end-of-sequence token included where it was generated."""
    stop: StopReason


@dataclass(frozen=True)
class Attempt:
    """One pass through all stages."""

    question_id: str
    number: int
    outputs: tuple[StageOutput, ...]
    answer: str | None
    """Parsed label, or `None` when the last output names no option."""


@dataclass(frozen=True)
class Verdict:
    """The vote over a question's attempts."""

    question_id: str
    answer: str | None
    votes: Mapping[str, int] = field(default_factory=dict)
    """Label -> number of attempts; unparsed attempts are not in it."""
    unparsed: int = 0

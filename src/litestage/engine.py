"""A model ready to reason: its sub-layers, its tokenizer, its stages.

engine = Engine(Decoder(model), tokenizer, settings.reasoning)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestage.config import ReasoningSettings
from litestage.memory import question_tokens, questions_that_fit, spare_tokens
from litestage.model.sublayers import Decoder
from litestage.plan import Plan
from litestage.records import Question
from litestage.text.stages import render


@dataclass(frozen=True)
class Engine:
    """A model ready to reason: its sub-layers, its tokenizer, its stages."""

    decoder: Decoder
    tokenizer: Any
    reasoning: ReasoningSettings
    name: str = "model"
    """What a plan calls the model."""

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages in order."""
        return [stage.name for stage in self.reasoning.stages]

    @property
    def eos(self) -> tuple[int, ...]:
        """Token ids that end an output."""
        return (self.tokenizer.eos_token_id,)

    def questions_at_once(self, questions: Sequence[Question], attempts: int | None = None) -> int:
        """How many of the questions are answered together.

        Raises:
            ValueError: not one fits in `reasoning.memory`.
        """
        settings = self.reasoning
        if settings.batch_size is not None:
            return max(1, settings.batch_size // (attempts or 1))
        first = [text for q in questions for text in render(q, settings.stages, 0, {}).values()]
        prompt = max(map(len, encode(self.tokenizer, first)), default=1)
        options = max((len(q.options) for q in questions), default=1)
        tokens = question_tokens(settings.stages, prompt, options, attempts or 1)
        layout = self.decoder.layout
        spare = spare_tokens(layout) * layout.token_bytes
        return questions_that_fit(settings.memory, tokens * layout.token_bytes, spare)

    def rows_at_once(self, questions: Sequence[Question]) -> int:
        """Rows of the largest decode step that greedy passes over the questions can lead to."""
        fans_out = any(stage.fans_out for stage in self.reasoning.stages)
        widest = max((len(question.options) for question in questions), default=1) if fans_out else 1
        return min(self.reasoning.rows, self.questions_at_once(questions) * widest)

    def full_depth(self) -> Plan:
        """The plan that skips nothing."""
        return Plan.full_depth(self.name, self.decoder.num_sublayers, self.stage_names)


def encode(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, as the tokenizer itself would start a sequence."""
    return tokenizer(list(prompts), verbose=False)["input_ids"] if prompts else []

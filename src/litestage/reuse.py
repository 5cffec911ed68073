"""Stage outputs that were generated before, by content: greedy decoding makes an output a function of prompt and plan.

A search tries hundreds of plans on the same questions; most of what a plan asks for has been made already. What was
decoded without early exit also answers for every exit rule, since a rule only cuts.

    reuse = Reuse()
    run(engine, questions, plan, reuse=reuse)          # generates
    run(engine, questions, other_plan, reuse=reuse)    # generates what differs
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from litestage.config import StageSettings
from litestage.memory import GIB
from litestage.model.decode import Generated, Prompts
from litestage.model.exit import first_exit
from litestage.plan import StagePlan
from litestage.records import Question


@dataclass
class Reuse:
    """Outputs by content, and prompts that were prefilled."""

    outputs: dict[str, Generated] = field(default_factory=dict)
    fresh: dict[str, Generated] = field(default_factory=dict)
    """What was added since the last `drain`."""
    held: dict[int, Prompts] = field(default_factory=dict)
    """Stage number -> prefilled prompts of the questions in `turn_to`: plans differ in what they decode from them."""
    kept: deque[Prompts] = field(default_factory=deque)
    """Last stage's prompts of questions asked before, oldest first: they begin with the other stages' prompts."""
    memory: float = 0.0
    """GiB that the keys and values of `kept` may take."""
    _questions: tuple[str, ...] = ()

    def turn_to(self, questions: Sequence[Question]) -> None:
        """Ask other questions: keep of those before what there is memory for."""
        names = tuple(question.id for question in questions)
        if names != self._questions:
            if self.memory and self.held:
                self.kept.append(self.held[max(self.held)])
            while sum(prompts.cache.bytes for prompts in self.kept) > self.memory * GIB:
                self.kept.popleft()
            self.held.clear()
            self._questions = names

    def forget(self) -> None:
        """Let go of all prefilled prompts."""
        self.held.clear()
        self.kept.clear()

    def get(self, stage: StageSettings, plan: StagePlan, prompt: str, own: int = 0) -> Generated | None:
        """The output of a stage's prompt under the stage's part of a plan, if it is known (see `key`)."""
        found = self.outputs.get(key(stage, plan, prompt, own))
        if found is not None or plan.exit is None:
            return found
        whole = self.outputs.get(key(stage, replace(plan, exit=None), prompt, own))
        if whole is None or len(whole.confidences) != len(whole.tokens):
            return None
        end = first_exit(whole.confidences, plan.exit)
        if end is None or (end == len(whole.tokens) and whole.stop == "eos"):
            return whole
        return Generated(whole.tokens[:end], "confidence", whole.confidences[:end])

    def put(self, stage: StageSettings, plan: StagePlan, prompt: str, output: Generated, own: int = 0) -> None:
        """Remember an output."""
        name = key(stage, plan, prompt, own)
        self.outputs[name] = self.fresh[name] = output

    def drain(self) -> dict[str, Generated]:
        """What was added since the last call."""
        fresh, self.fresh = self.fresh, {}
        return fresh


def key(stage: StageSettings, plan: StagePlan, prompt: str, own: int = 0) -> str:
    """Name of an output: what it depends on besides the model, hashed.

    `own` is where the stage's own part of the prompt begins, in tokens, if the plan skips in prefill.
    """
    content = repr((stage.name, stage.max_new_tokens, plan, prompt, own if plan.prefill else 0))
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()

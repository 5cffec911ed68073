"""What asking will cost, before the first request, and what it came to.

estimate(slots, prompts, Prices(0.15, 0.6))  # lines to print
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from litestage.records import Rationale
from litestage.text.teacher.prompts import Prompts
from litestage.text.teacher.slots import Slot

BYTES_A_TOKEN = 4
"""A rule of thumb for English; the server counts by its own tokenizer."""
TOKENS_A_MESSAGE = 4
MOST_REASONS = 3


@dataclass(frozen=True)
class Prices:
    """Price of a million tokens, in whatever currency."""

    prompt: float | None = None
    completion: float | None = None

    def line(self, what: str, *tokens: tuple[float, float]) -> list[str]:
        """The cost of some (prompt, completion) tokens as a line; none without prices."""
        if self.prompt is None or self.completion is None:
            return []
        costs = [(asked * self.prompt + written * self.completion) / 1e6 for asked, written in tokens]
        shown = " to ".join(f"{cost:.4f}" for cost in costs)
        return [f"{what}: {shown} (at {self.prompt} and {self.completion} a million tokens)"]


def estimate(slots: Sequence[Slot], prompts: Prompts, prices: Prices) -> list[str]:
    """Lines on what the open slots need: at least (each agrees at once), at most (each is asked to the end).

    Tokens are estimated, replies by the length of the worked examples.
    """
    waiting = [slot for slot in slots if slot.is_open]
    known = sum(len(slot.readings) for slot in slots)
    asked = [sum(tokens(told["content"]) + TOKENS_A_MESSAGE for told in slot.told) for slot in waiting]
    written = [_reply_tokens(slot, prompts) for slot in waiting]
    left = [slot.settings.retries + 1 - len(slot.readings) for slot in waiting]
    least, most = (sum(asked), sum(written)), (_weighed(asked, left), _weighed(written, left))
    return [
        f"requests: {len(waiting)} to {sum(left)}; {known} replies are in the journal",
        f"tokens, estimated: prompts {least[0]} to {most[0]}, replies {least[1]} to {most[1]}",
        *prices.line("cost, estimated", least, most),
    ]


def report(
    slots: Sequence[Slot], written: Mapping[str, Sequence[Rationale]], received: int, prices: Prices
) -> list[str]:
    """Lines on what came of all slots, those of earlier runs included.

    Args:
        slots: as `ask` left them.
        written: question id -> the rationales that were kept.
        received: replies of this run.
        prices: for the cost.
    """
    outcomes = Counter(reading.outcome for slot in slots for reading in slot.readings)
    asked, retried = outcomes.total(), sum(max(0, len(slot.readings) - 1) for slot in slots)
    ended = [slot for slot in slots if not slot.is_open and not slot.refused]
    given_up = sum(slot.readings[-1].outcome != "agreed" for slot in ended)
    refused = [slot for slot in slots if slot.refused]
    replies = [reply for slot in slots for reply in slot.replies]
    used = sum(reply.prompt_tokens for reply in replies), sum(reply.completion_tokens for reply in replies)
    questions = len({slot.question.id for slot in slots})
    reasons = Counter(reading.why for slot in slots for reading in slot.readings if reading.outcome == "malformed")
    return [
        f"asked: {asked} ({received} in this run)",
        *(f"{outcome}: {outcomes[outcome]}" for outcome in ("agreed", "disagreed", "malformed", "cut off")),
        *(f"  malformed, {count} times: {why}" for why, count in reasons.most_common(MOST_REASONS)),
        f"retried: {retried}",
        f"given up: {given_up} of {len(slots)} slots; still open: {sum(slot.is_open for slot in slots)}",
        *([f"refused: {len(refused)}, the first: {refused[0].refused}"] if refused else []),
        f"tokens: prompts {used[0]}, replies {used[1]}",
        *prices.line("cost", used),
        f"rationales: {sum(map(len, written.values()))}, for {len(written)} of {questions} questions",
    ]


def tokens(text: str) -> int:
    """Estimated number of tokens."""
    return ceil(len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN)


def _reply_tokens(slot: Slot, prompts: Prompts) -> int:
    """A text for the recall and one for each option, as long as those of the examples."""
    if not prompts.examples:
        return slot.settings.max_tokens
    shown = sum(tokens(answer) for _, answer in prompts.examples)
    texts = sum(1 + len(example.options) for example, _ in prompts.examples)
    return round((1 + len(slot.question.options)) * shown / texts)


def _weighed(values: Sequence[int], weights: Sequence[int]) -> int:
    return sum(value * weight for value, weight in zip(values, weights, strict=True))

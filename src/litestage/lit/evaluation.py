"""Plans compared on the test questions through `Trainer.test`: accuracy by vote, speed in paired, alternating repeats.

Every batch of questions runs through every method before the next batch starts, in an order that rotates and is
turned round every other time, so the machine's drift, and what a method leaves behind for the next one, hit all alike.
A second full depth is the A/A control: its speed-up shows the noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning as L

from litestage import sharing
from litestage.config import EvaluateSettings
from litestage.engine import Engine
from litestage.metrics import score, tokens_per_question
from litestage.pipeline import run
from litestage.plan import Plan
from litestage.records import Attempt, Question
from litestage.search.policies import skipped_parameters, skipped_sublayers
from litestage.timing import spread

BASELINE = "full depth"
CONTROL = "full depth (control)"


@dataclass
class Tally:
    """What one method did so far. `seconds[r]` is repeat `r` over all timed questions."""

    plan: Plan
    seconds: list[float]
    greedy: list[Attempt] = field(default_factory=list)
    sampled: list[Attempt] = field(default_factory=list)
    timed_tokens: int = 0
    """Tokens generated for the timed questions."""

    def join(self, other: Tally) -> None:
        """Take what another process did as well."""
        self.seconds = [a + b for a, b in zip(self.seconds, other.seconds, strict=True)]
        self.greedy = [*self.greedy, *other.greedy]
        self.sampled = [*self.sampled, *other.sampled]
        self.timed_tokens += other.timed_tokens


def in_turn(names: Sequence[str], number: int) -> list[str]:
    """The order of turn `number`: even turns begin with one after the other, odd ones run the turn before backwards."""
    start = number // 2 % len(names)
    order = [*names[start:], *names[:start]]
    return order[::-1] if number % 2 else order


class StagedEvaluation(L.LightningModule):
    """Runs every method on every test batch.

    Args:
        engine: the trained model and its stages.
        methods: name -> plan; the first one is full depth, the baseline of all speed-ups.
        settings: attempts, repeats, how many questions are timed.
        seed: of the sampled attempts.
    """

    def __init__(self, engine: Engine, methods: Mapping[str, Plan], settings: EvaluateSettings, seed: int) -> None:
        super().__init__()
        self.engine, self.settings, self.seed = engine, settings, seed
        self.tallies = {name: Tally(plan, [0.0] * settings.repeats) for name, plan in methods.items()}
        self.questions: list[Question] = []
        self.timed = 0

    def test_step(self, batch: list[Question], batch_idx: int) -> None:
        """Time greedy passes of all methods in turns, then sample the votes."""
        most = self.settings.timed_questions
        mine = len(self.questions) + len(batch) if most is None else len(sharing.share(range(most)))
        room = mine - self.timed
        timed = batch[: max(0, room)]
        if batch_idx == 0:
            for tally in self.tallies.values():
                run(self.engine, batch, tally.plan)  # warm-up of full length
        names = list(self.tallies)
        for repeat in range(self.settings.repeats if timed else 1):
            for name in in_turn(names, batch_idx + repeat):
                self._greedy(self.tallies[name], batch, timed, repeat)
        self.timed += len(timed)
        self.questions += batch
        if self.settings.attempts > 1:
            for name, tally in self.tallies.items():
                if name != CONTROL:
                    tally.sampled += run(self.engine, batch, tally.plan, self.settings.attempts, self.seed).attempts
        for name, tally in self.tallies.items():
            if name != CONTROL:
                right = sum(a.answer == q.answer for a, q in zip(tally.greedy[-len(batch) :], batch, strict=True))
                self.log(f"test/single_pass_accuracy/{name}", right / len(batch), batch_size=len(batch))

    def _greedy(self, tally: Tally, batch: Sequence[Question], timed: Sequence[Question], repeat: int) -> None:
        """One greedy pass; the first repeat answers the untimed rest as well."""
        if timed:
            result = run(self.engine, timed, tally.plan)
            tally.seconds[repeat] += sum(usage.seconds for usage in result.usage.values())
            if repeat == 0:
                tally.greedy += result.attempts
                tally.timed_tokens += sum(usage.tokens for usage in result.usage.values())
        if repeat == 0 and len(timed) < len(batch):
            tally.greedy += run(self.engine, batch[len(timed) :], tally.plan).attempts

    def on_test_epoch_end(self) -> None:
        """Put together what the processes did; each answered its own questions."""
        first, *others = sharing.gather((self.questions, self.timed, self.tallies))
        self.questions, self.timed, self.tallies = list(first[0]), first[1], first[2]
        for questions, timed, tallies in others:
            self.questions, self.timed = [*self.questions, *questions], self.timed + timed
            for name, tally in self.tallies.items():
                tally.join(tallies[name])

    def methods(self) -> list[dict[str, Any]]:
        """The `methods` of `results.json`, in order."""
        return [self._method(name, tally) for name, tally in self.tallies.items()]

    def _method(self, name: str, tally: Tally) -> dict[str, Any]:
        baseline = self.tallies[BASELINE]
        single = score(self.questions, tally.greedy)
        sampled = self.tallies[BASELINE].sampled if name == CONTROL else tally.sampled
        voted = score(self.questions, sampled) if sampled else single
        tokens = tokens_per_question(tally.greedy, self.engine.stage_names)
        ratios = [full / mine for full, mine in zip(baseline.seconds, tally.seconds, strict=True)]
        seconds = spread(tally.seconds)["median"] / self.timed
        timed_tokens = tally.timed_tokens / self.timed
        return {
            "name": name,
            "budgets": tally.plan.budgets,
            "skipped_sublayers": skipped_sublayers(self.engine, tally.plan),
            "skipped_parameters": skipped_parameters(self.engine, tally.plan),
            "mean_full_layers": tally.plan.mean_full_layers,
            "exit": any(stage.exit for stage in tally.plan.stages.values()),
            "accuracy": voted.accuracy,
            "accuracy_stderr": voted.stderr,
            "n": voted.n,
            "attempts": self.settings.attempts,
            "single_pass_accuracy": single.accuracy,
            "unparsed_rate": voted.unparsed_rate,
            "seconds_per_question": seconds,
            "ms_per_token": 1000 * seconds / max(timed_tokens, 1e-9),
            "tokens_per_question": dict(tokens),
            "speedup": spread(ratios),
        }

"""Plans compared on the test questions through `Trainer.test`: accuracy by vote, speed in paired, alternating repeats.

Every batch of questions runs through every method before the next batch starts, in an order that rotates and is
turned round every other time, so the machine's drift, and what a method leaves behind for the next one, hit all alike.
A second full depth is the A/A control: its speed-up shows the noise. It runs where time is taken; its answers are full
depth's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L

from litestage import sharing
from litestage.config import EvaluateSettings
from litestage.engine import Engine
from litestage.lit.kept import Kept, pack, unpack
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
    """Of the passes that vote: their answers, without outputs."""
    timed_tokens: int = 0
    """Tokens generated for the timed questions."""

    def join(self, other: Tally) -> None:
        """Take what was done on other questions."""
        self.seconds = [a + b for a, b in zip(self.seconds, other.seconds, strict=True)]
        self.greedy = [*self.greedy, *other.greedy]
        self.sampled = [*self.sampled, *other.sampled]
        self.timed_tokens += other.timed_tokens

    def to_json(self) -> dict[str, Any]:
        """All but the plan, as plain JSON."""
        return {
            "seconds": self.seconds,
            "greedy": [pack(attempt) for attempt in self.greedy],
            "sampled": [pack(attempt) for attempt in self.sampled],
            "timed_tokens": self.timed_tokens,
        }

    @classmethod
    def from_json(cls, plan: Plan, plain: Mapping[str, Any]) -> Tally:
        """Undo `to_json`; the prompts of attempts are not kept."""
        greedy, sampled = ([unpack(attempt) for attempt in plain[name]] for name in ("greedy", "sampled"))
        return cls(plan, list(plain["seconds"]), greedy, sampled, plain["timed_tokens"])


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
        kept: where finished batches are kept.
    """

    def __init__(
        self,
        engine: Engine,
        methods: Mapping[str, Plan],
        settings: EvaluateSettings,
        seed: int,
        kept: Kept | None = None,
    ) -> None:
        super().__init__()
        self.engine, self.settings, self.seed, self.kept = engine, settings, seed, kept
        self.tallies = {name: self._blank(plan) for name, plan in methods.items()}
        self.questions: list[Question] = []
        self.timed = 0
        self.resumed = False
        self._warm = False

    def on_test_epoch_start(self) -> None:
        """Read what an evaluation like this one did before it was stopped."""
        batches = self.kept.open() if self.kept else 0
        self.resumed = batches > 0
        if batches:
            warnings.warn(f"an evaluation like this one was stopped after {batches} batches; going on", stacklevel=2)

    def test_step(self, batch: list[Question], batch_idx: int) -> None:
        """Time greedy passes of all methods in turns, then sample the votes; what is kept is not done again."""
        known = self.kept.get(batch) if self.kept else None
        if known is None:
            timed, tallies = self._answer(batch, batch_idx)
            if self.kept:
                plain = {name: tally.to_json() for name, tally in tallies.items()}
                self.kept.add(batch, {"timed": timed, "tallies": plain})
        else:
            timed = known["timed"]
            tallies = {n: Tally.from_json(t.plan, known["tallies"][n]) for n, t in self.tallies.items()}
        self.timed += timed
        self.questions += batch
        for name, tally in tallies.items():
            self.tallies[name].join(tally)
            if name != CONTROL:
                right = sum(a.answer == q.answer for a, q in zip(tally.greedy, batch, strict=True))
                self.log(f"test/single_pass_accuracy/{name}", right / len(batch), batch_size=len(batch))

    def _blank(self, plan: Plan) -> Tally:
        return Tally(plan, [0.0] * self.settings.repeats)

    def _answer(self, batch: Sequence[Question], number: int) -> tuple[int, dict[str, Tally]]:
        """All passes of all methods over a batch; how many of its questions were timed."""
        most = self.settings.timed_questions
        mine = len(self.questions) + len(batch) if most is None else len(sharing.share(range(most)))
        timed = batch[: max(0, mine - self.timed)]
        tallies = {name: self._blank(tally.plan) for name, tally in self.tallies.items()}
        if not self._warm:
            for tally in tallies.values():
                run(self.engine, batch, tally.plan)  # warm-up of full length
            self._warm = True
        for repeat in range(self.settings.repeats if timed else 1):
            for name in in_turn(list(tallies), number + repeat):
                self._greedy(tallies[name], batch if name != CONTROL else timed, timed, repeat)
        if self.settings.attempts > 1:
            for name, tally in tallies.items():
                if name != CONTROL:
                    made = run(self.engine, batch, tally.plan, self.settings.attempts, self.seed).attempts
                    tally.sampled = [replace(attempt, outputs=()) for attempt in made]
        return len(timed), tallies

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
        answers = baseline if name == CONTROL else tally
        single = score(self.questions, answers.greedy)
        voted = score(self.questions, answers.sampled) if answers.sampled else single
        tokens = tokens_per_question(answers.greedy, self.engine.stage_names)
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

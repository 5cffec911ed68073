"""What plans are worth: accuracy on the search's questions, latency by the cost model on what they say.

Plans are tried in races. All of them answer one chunk of questions after the other, so a prompt that they share is
prefilled once; one that can no longer win leaves. Outputs that were made before are not made again.

    objective = Objective(engine, questions, cost)
    full = objective.trial(engine.full_depth())
    trials = objective.race(plans, needed=93, limit=full.seconds)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import torch

from litestage import sharing
from litestage.engine import Engine
from litestage.model.decode import Trace
from litestage.pipeline import run
from litestage.plan import Plan, StagePlan
from litestage.records import Attempt, Question
from litestage.reuse import Reuse
from litestage.search.cost import CostModel
from litestage.search.journal import Journal
from litestage.search.race import Runner, leader, slower
from litestage.search.replay import replay
from litestage.search.trial import Spent, Stopped, Trial
from litestage.seeding import generator_of

FIRST = 4
"""Questions of a race's first chunk; the chunks grow by half of what was answered."""

ROUNDING = 1e-5
"""Confidences closer than this are equal: they are kept with six digits."""


@dataclass
class Objective:
    """Tries plans on fixed questions with greedy decoding.

    Args:
        engine: model, tokenizer, stages.
        questions: what accuracy and latency are taken over.
        cost: seconds of counted work.
        racing: `off`: every plan answers everything; `exact`: a plan leaves when it cannot win any more; `statistical`:
            also when a plan that reaches the accuracy would look this bad, or one that is the fastest this slow, with
            a probability below `error`.
        error: probability of losing a plan that would have won, for each plan; half of it on either side.
        seed: of the order of questions in statistical races.
        journal: keeps what is generated.
        progress: called with 1 for every question that a plan answered.
    """

    engine: Engine
    questions: Sequence[Question]
    cost: CostModel
    racing: Literal["off", "exact", "statistical"] = "exact"
    error: float = 0.05
    seed: int = 0
    journal: Journal | None = None
    progress: Callable[[int], None] | None = None
    reuse: Reuse = field(default_factory=Reuse)
    spent: Spent = field(default_factory=Spent)
    _order: list[Question] = field(default_factory=list)
    _lost: Counter[str] = field(default_factory=Counter)
    """Question id -> how many plans answered it wrong."""

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError("the search needs at least one validation question")
        self.reuse.memory = self.engine.reasoning.memory
        if self.journal is not None:
            self.reuse.outputs |= self.journal.outputs
        self.together = self.engine.questions_at_once(self.questions)

    def trial(self, plan: Plan) -> Trial:
        """Let the plan answer everything."""
        return self.race([plan], 0, float("inf"))[0]

    def race(self, plans: Sequence[Plan], needed: int, limit: float, best: Trial | None = None) -> list[Trial]:
        """Try plans side by side.

        Args:
            plans: at least one.
            needed: right answers a plan must have in the end; a plan that cannot leaves.
            limit: seconds a question a plan must stay below; a plan that cannot leaves.
            best: the plan to beat, if there is one; a statistical race compares with it question by question.
        """
        runners = [Runner(plan, len(self.questions), needed) for plan in plans]
        chunks = self._chunks(racing=needed > 0)
        error = self.error / 2 / len(chunks)
        rivals = [*runners, *([self._finished(best, chunks)] if best and self._guesses else [])]
        while going := self._going(rivals, error):
            first = min(runner.chunks for runner in going)
            chunk = chunks[first]
            for runner in [runner for runner in going if runner.chunks == first]:
                runner.take(chunk, self._answers(runner.plan, chunk))
                if self._guesses and needed:
                    runner.each += self._each(runner, chunk)
                self._lost.update(q.id for q in chunk if not runner.right[q.id])
                runner.stopped = self._verdict(runner, limit, error)
        for runner in runners:
            if not (runner.stopped or runner.done):
                runner.stopped = "slower"
        trials = [self._trial(runner) for runner in runners]
        if self.journal is not None:
            for trial in trials:
                self.journal.add_trial(trial.summary())
        return trials

    @property
    def _guesses(self) -> bool:
        return self.racing == "statistical"

    def _going(self, rivals: Sequence[Runner], error: float) -> list[Runner]:
        """Who answers next: those that are not done, and in a statistical race not slower than the fastest.

        Those that are slower wait: should the fastest miss the accuracy in the end, they go on.
        """
        rivals = [r for r in rivals if not r.stopped and (not r.done or r.could_reach >= r.needed)]
        going = [r for r in rivals if not r.done]
        if not self._guesses or len(rivals) < 2:
            return going
        first = leader(rivals)
        return [r for r in going if r is first or not slower(r, first, error)]

    def _finished(self, trial: Trial, chunks: Sequence[Sequence[Question]]) -> Runner:
        """A plan that has answered everything, as a runner that is done."""
        runner = Runner(trial.plan, trial.n, 0)
        attempts = {attempt.question_id: attempt for attempt in trial.attempts}
        for chunk in chunks:
            runner.take(chunk, [attempts[q.id] for q in chunk])
            runner.each += self._each(runner, chunk)
        return runner

    def rank_questions(self, base: Trial) -> None:
        """Put the questions first that will tell plans from the base, the plan they must not fall far behind.

        First those the base gets wrong, so that the rest can only lose; then those that plans have lost before, then
        those the base is least sure of. A statistical race needs all in random order.
        """
        if self._guesses:
            order = torch.randperm(len(self.questions), generator=generator_of(self.seed, "race")).tolist()
            self._order = [self.questions[i] for i in order]
            return
        least = {a.question_id: min(chain(*self._confidences(a, base.plan)), default=1.0) for a in base.attempts}
        self._order = sorted(self.questions, key=lambda q: (base.right[q.id], -self._lost[q.id], least[q.id]))

    def window_quantile(self, full: Trial, stage: str, window: int, share: float) -> float:
        """The mean confidence of `window` tokens in a row that a share of all such windows at full depth is below."""
        runs = [run for a in full.attempts for run in self._confidences(a, full.plan, stage) if len(run) >= window]
        means = sorted(sum(run[i : i + window]) / window for run in runs for i in range(len(run) - window + 1))
        above = means[min(int(share * len(means)), len(means) - 1)] if means else 0.0
        # Halfway to the next lower one: no rounding decides on which side a window lies.
        below = max((mean for mean in means if mean < above - ROUNDING), default=0.0)
        return (below + above) / 2

    def _confidences(self, attempt: Attempt, plan: Plan, stage: str | None = None) -> list[list[float]]:
        """Confidences of the outputs of an attempt under a plan, of one stage or all; none where prefill skips."""
        out = []
        for output in attempt.outputs:
            settings = next(s for s in self.engine.reasoning.stages if s.name == output.stage)
            part = plan.stages[output.stage]
            known = self.reuse.get(settings, part, output.prompt) if stage in (None, output.stage) else None
            out.append(known.confidences if known else [])
        return out

    def _chunks(self, racing: bool) -> list[list[Question]]:
        if not racing or self.racing == "off" or not self._order:
            questions, size = list(self.questions), self.together
            return [questions[start : start + size] for start in range(0, len(questions), size)]
        out, start = [], 0
        while start < len(self._order):
            size = min(max(FIRST, start // 2), self.together)
            out.append(self._order[start : start + size])
            start += size
        return out

    def _answers(self, plan: Plan, chunk: Sequence[Question]) -> list[Attempt]:
        """The plan's answers, made by all processes together."""
        result = run(self.engine, sharing.share(chunk), plan, reuse=self.reuse)
        used = [
            sum(usage.trace.prefill_tokens for usage in result.usage.values()),
            sum(usage.tokens for usage in result.usage.values()),
        ]
        shares = sharing.gather((result.attempts, self.reuse.drain(), used))
        for _, fresh, (prefill, generated) in shares:
            self.reuse.outputs |= fresh
            self.spent.prefill += prefill
            self.spent.generated += generated
            if self.journal is not None:
                self.journal.add_outputs(fresh)
        if self.progress:
            self.progress(len(chunk))
        return sharing.interleave([attempts for attempts, *_ in shares])

    def _verdict(self, runner: Runner, limit: float, error: float) -> Stopped:
        """Whether and why a runner leaves."""
        if self.racing == "off" or runner.needed == 0 or runner.done:
            return ""
        if runner.could_reach < runner.needed:
            return "accuracy"
        if self._at_least(runner) > limit * runner.n:
            return "latency"
        return "chance" if self._guesses and runner.hopeless(error) else ""

    def _each(self, runner: Runner, chunk: Sequence[Question]) -> list[float]:
        """Seconds of every question of a chunk, as if batches were full of its like: chunks may be small."""
        attempts, out = [runner.attempts[q.id] for q in chunk], [0.0] * len(chunk)
        times, most = self.together / len(chunk), self.engine.reasoning.rows
        for name, work in replay(self.engine, attempts, runner.plan, len(chunk))[0].items():
            steps: dict[int, float] = defaultdict(float)
            for rows, count in work.trace.steps.items():
                full = min(most, round(rows * times))
                steps[full] += count * rows / full
            prefill, decode = self._seconds(work.trace, steps, runner.plan.stages[name])
            for i, (p, d) in enumerate(zip(work.prefill_share, work.decode_share, strict=True)):
                out[i] += p * prefill + d * decode
        return out

    def _at_least(self, runner: Runner) -> float:
        """Seconds that a runner's outputs take at least, in however full batches."""
        tokens: dict[str, int] = {}
        for attempt in runner.attempts.values():
            for output in attempt.outputs:
                tokens[output.stage] = tokens.get(output.stage, 0) + output.tokens - 1  # the first comes from prefill
        stages = runner.plan.stages
        return sum(count * self.cost.least_row_seconds(stages[name].skip) for name, count in tokens.items())

    def _trial(self, runner: Runner) -> Trial:
        if runner.stopped:
            return Trial(runner.plan, runner.n, runner.right, stopped=runner.stopped)
        attempts = [runner.attempts[q.id] for q in self.questions]
        right = {q.id: runner.right[q.id] for q in self.questions}
        each = [0.0] * runner.n
        latency, decoding = dict.fromkeys(self.engine.stage_names, 0.0), 0.0
        for batch, works in enumerate(replay(self.engine, attempts, runner.plan, self.together)):
            for name, work in works.items():
                prefill, decode = self._seconds(work.trace, work.trace.steps, runner.plan.stages[name])
                latency[name] += (prefill + decode) / runner.n
                decoding += decode / runner.n
                for i, (p, d) in enumerate(zip(work.prefill_share, work.decode_share, strict=True)):
                    each[batch * self.together + i] += p * prefill + d * decode
        tokens = dict.fromkeys(self.engine.stage_names, 0.0)
        for attempt in attempts:
            for output in attempt.outputs:
                tokens[output.stage] += output.tokens / runner.n
        return Trial(runner.plan, runner.n, right, latency, decoding, tokens, each, attempts)

    def _seconds(self, trace: Trace, steps: Mapping[int, float], stage: StagePlan) -> tuple[float, float]:
        """Predicted seconds of a stage's work: prefill, decode."""
        prefill = self.cost.prefill_seconds(trace, stage.skip if stage.prefill else ())
        return prefill, self.cost.decode_seconds(steps, stage.skip, confident=stage.exit is not None)

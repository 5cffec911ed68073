"""What experiments share: the run's files, loaded when first asked for; answers and timings, made once a command.

bench = Bench(given, trained_engine(given))
bench.answers(bench.plan, bench.test)           # greedy, known outputs reused
bench.measure([bench.plan])[0].speedup          # timed beside full depth and its control
bench.found(eps=0.02).plan                      # the search, from its journal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from litestage.engine import Engine
from litestage.lit.datamodule import QuestionData
from litestage.lit.evaluation import BASELINE, CONTROL, StagedEvaluation
from litestage.metrics import Score, score
from litestage.model.decode import Generated
from litestage.model.importance import Importance
from litestage.pipeline import run
from litestage.plan import Plan
from litestage.records import Attempt, Question, StageOutput
from litestage.report.environment import environment
from litestage.report.schema import read
from litestage.reuse import Reuse
from litestage.runs import journal_of, make_trainer, needed, ranking_fact, searched_plan, trained_importance
from litestage.search.cost import CostModel, calibrate
from litestage.search.objective import Objective
from litestage.search.ranking import rank
from litestage.search.stagewise import Found, budgets, search
from litestage.settings import Given
from litestage.text.benchmarks import Splits, load
from litestage.timing import spread


@dataclass(frozen=True)
class Measured:
    """A plan on the test questions: accuracy by vote, greedy passes timed in turns with full depth."""

    plan: Plan
    score: Score
    seconds: Mapping[str, float]
    """Median, low and high of the repeats, a question."""
    speedup: Mapping[str, float]
    """Over full depth, paired by repeat: median, low, high."""
    tokens: float
    """Generated tokens a question, of a greedy pass."""


@dataclass
class Bench:
    """A trained run.

    Raises:
        ValueError: several processes; experiments are made by one.
    """

    given: Given
    engine: Engine
    reuse: Reuse = field(default_factory=Reuse)
    controls: list[Mapping[str, float]] = field(default_factory=list)
    """Speed-ups of full depth against itself, one a session of timings."""
    _answers: dict[Any, list[Attempt]] = field(default_factory=dict)
    _measured: dict[Any, Measured] = field(default_factory=dict)
    _found: dict[float, Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = self.given.experiment
        processes = make_trainer(self.given, [], []).world_size
        if processes > 1:
            raise ValueError(f"experiments are made by one process, not {processes}; set trainer.devices to 1")

    @cached_property
    def splits(self) -> Splits:
        """The benchmark's questions."""
        return load(self.settings.data, self.settings.seed)

    @property
    def test(self) -> Sequence[Question]:
        """Test questions: what accuracies are about."""
        return self.splits.test

    @property
    def validation(self) -> Sequence[Question]:
        """The validation questions of the search."""
        return self.splits.validation[: self.settings.search.questions]

    @cached_property
    def importance(self) -> Importance:
        """The ranking that `train.py` left."""
        return trained_importance(self.given.folder)

    @cached_property
    def plan(self) -> Plan:
        """The plan that `search.py` left."""
        return searched_plan(self.given.folder, self.engine)

    @property
    def budgets(self) -> range:
        """The budgets of the search, in sub-layers."""
        return budgets(self.engine.decoder.num_sublayers, self.settings.search)

    def document(self, file: str, name: str, script: str) -> dict[str, Any]:
        """A file of the run; an error names the script that makes it."""
        path = needed(self.given.folder / file, script)
        try:
            return read(path, name)
        except ValueError as error:
            raise ValueError(f"{error}. Run `python {script}` again, which writes the file anew") from error

    @cached_property
    def objective(self) -> Objective:
        """The search's, with all that its journal knows. What it generates joins the journal."""
        needed(self.given.folder / "search.jsonl", "search.py")
        journal, settings = journal_of(self.given, self.engine, self.validation), self.settings.search
        rows = self.engine.rows_at_once(self.validation)
        cost = CostModel.from_json(journal.fact("cost", lambda: calibrate(self.engine.decoder, rows, 100).to_json()))
        known = Reuse(self.reuse.outputs)  # one memory; but what others generate stays out of the journal
        return Objective(
            self.engine,
            self.validation,
            cost,
            settings.racing,
            settings.racing_error,
            self.settings.seed,
            journal,
            reuse=known,
        )

    @cached_property
    def orders(self) -> Mapping[str, Sequence[int]]:
        """Stage -> sub-layers in the order in which the search skips them."""
        objective, settings = self.objective, self.settings.search
        asked = self.splits.validation[: settings.importance_questions]
        find = lambda: rank(self.engine, self.importance, asked, settings, objective.cost)  # noqa: E731
        orders = find() if objective.journal is None else objective.journal.fact(ranking_fact(self.given), find)
        return dict(orders)

    def found(self, eps: float) -> Found:
        """The search at another eps; generates only what the journal lacks."""
        if eps not in self._found:
            self._found[eps] = search(self.objective, self.orders, replace(self.settings.search, eps=eps))
        return self._found[eps]

    def answers(self, plan: Plan, questions: Sequence[Question]) -> list[Attempt]:
        """Greedy answers."""
        key = (*_key(plan), tuple(question.id for question in questions))
        if key not in self._answers:
            self._answers[key] = run(self.engine, questions, plan, reuse=self.reuse).attempts
        return self._answers[key]

    def generated(self, attempt: Attempt, plan: Plan) -> list[tuple[StageOutput, Generated]]:
        """The outputs of an attempt with their tokens and confidences.

        Raises:
            ValueError: a stage of the plan skips in prefill; its outputs are not kept by their prompt alone.
        """
        stages = {stage.name: stage for stage in self.engine.reasoning.stages}
        out = []
        for output in attempt.outputs:
            known = self.reuse.get(stages[output.stage], plan.stages[output.stage], output.prompt)
            if known is not None:
                out.append((output, known))
            elif output.tokens:
                raise ValueError(f"stage {output.stage!r} skips in prefill (search.prefill); this experiment cannot")
        return out

    def measure(self, plans: Sequence[Plan]) -> list[Measured]:
        """Accuracy and speed of plans on the test questions; what was measured before is not measured again."""
        new = {_key(plan): plan for plan in plans if _key(plan) not in self._measured}
        full = self.engine.full_depth()
        if new:
            methods = {BASELINE: full, CONTROL: full}
            methods |= {f"plan {i}": plan for i, plan in enumerate(new.values()) if _key(plan) != _key(full)}
            settings = replace(self.settings.evaluate, attempts=1)  # votes follow, once a plan
            module = StagedEvaluation(self.engine, methods, settings, self.settings.seed)
            data = QuestionData(self.settings, self.splits, self.engine.tokenizer)
            make_trainer(self.given, [], []).test(module, data, verbose=False)
            self._take(module)
        return [self._measured[_key(plan)] for plan in plans]

    def _take(self, module: StagedEvaluation) -> None:
        """Keep what a session of timings says, and let each new plan vote."""
        said = {method["name"]: method for method in module.methods()}
        self.controls.append(said[CONTROL]["speedup"])
        attempts, seed = self.settings.evaluate.attempts, self.settings.seed
        for name, tally in module.tallies.items():
            if name == CONTROL or _key(tally.plan) in self._measured:
                continue
            votes = run(self.engine, self.test, tally.plan, attempts, seed).attempts if attempts > 1 else tally.greedy
            self._measured[_key(tally.plan)] = Measured(
                tally.plan,
                score(self.test, votes),
                spread([seconds / module.timed for seconds in tally.seconds]),
                said[name]["speedup"],
                sum(said[name]["tokens_per_question"].values()),
            )

    def about(self) -> dict[str, Any]:
        """What a document says of how it was made."""
        dtype = str(self.engine.decoder.dtype).removeprefix("torch.")
        return {
            "run": self.settings.run,
            "model": self.engine.name,
            "num_sublayers": self.engine.decoder.num_sublayers,
            "benchmark": self.settings.data.title,
            "seed": self.settings.seed,
            "batch_size": self.engine.questions_at_once(self.test),
            "environment": environment(str(self.engine.decoder.device), dtype),
        }


def _key(plan: Plan) -> tuple[Any, ...]:
    """What a plan does."""
    return tuple(plan.stages.items())

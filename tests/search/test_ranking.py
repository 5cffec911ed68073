"""Importance over the prompts that the pipeline really meets."""

from __future__ import annotations

import pytest
import torch

from litestage.engine import Engine
from litestage.model.importance import prompt_similarity
from litestage.pipeline import run
from litestage.plan import Plan
from litestage.records import Question
from litestage.search import ranking
from litestage.search.ranking import measure_importance


def by_hand(engine: Engine, question: Question) -> dict[str, torch.Tensor]:
    """Similarities of one question: its prompts one at a time, then their mean per stage."""
    (attempt,) = run(engine, [question], engine.full_depth()).attempts
    found: dict[str, list[torch.Tensor]] = {}
    for output in attempt.outputs:
        ids = engine.tokenizer(output.prompt)["input_ids"]
        found.setdefault(output.stage, []).append(prompt_similarity(engine.decoder, [ids])[0])
    return {stage: torch.stack(rows).mean(0) for stage, rows in found.items()}


def test_options_are_averaged_before_questions(engine: Engine, questions: list[Question]) -> None:
    """The questions have 2 to 4 options; each question weighs the same."""
    made = measure_importance(engine, questions)
    alone = [by_hand(engine, question) for question in questions]
    assert list(made.stages) == engine.stage_names
    for stage, similarity in made.stages.items():
        wanted = torch.stack([found[stage] for found in alone]).mean(0)
        torch.testing.assert_close(torch.tensor(similarity), wanted, rtol=0, atol=1e-5)
    assert (made.model, made.questions) == (engine.name, len(questions))
    assert len(made.order) == engine.decoder.num_sublayers


def test_stages_differ_because_generated_text_is_read(engine: Engine, questions: list[Question]) -> None:
    made = measure_importance(engine, questions)
    assert made.stages["recall"] != pytest.approx(made.stages["summarize"], abs=1e-4)


def test_it_is_measured_at_full_depth(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []

    def spy(engine: Engine, questions: list[Question], plan: Plan) -> object:
        plans.append(plan)
        return run(engine, questions, plan)

    monkeypatch.setattr(ranking, "run", spy)
    told: list[int] = []
    measure_importance(engine, questions, told.append)
    assert plans == [engine.full_depth()]
    assert sum(told) == len(questions)


def test_no_questions_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="at least one question"):
        measure_importance(engine, [])

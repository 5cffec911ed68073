"""What spans the groups of an experiment's settings."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest

from litestage.config import Experiment, ReasoningSettings, SearchSettings, StageSettings, three_stages


def test_exit_stages_that_the_experiment_lacks_are_refused() -> None:
    wrong = r"search.exit_stages names unknown stages \['think'\]; the stages are \['recall', 'analyze', 'summarize'\]"
    with pytest.raises(ValueError, match=wrong):
        Experiment(search=SearchSettings(exit_stages=["recall", "think"]))


def test_exit_stages_are_checked_against_the_stages_of_the_same_experiment() -> None:
    stages = [StageSettings("think", "{question}"), StageSettings("answer", "{question} {think}")]
    made = Experiment(reasoning=ReasoningSettings(stages), search=SearchSettings(exit_stages=["think"]))
    assert made.search.exit_stages == ["think"]


def test_two_experiments_share_no_settings() -> None:
    one, two = Experiment(), Experiment()
    one.reasoning.stages[0].max_new_tokens = 1
    one.model.tiny.blocks = 1
    one.search.exit_candidates.append(0.5)
    assert two.reasoning.stages == three_stages()
    assert two.model.tiny.blocks != 1
    assert two.search.exit_candidates == []


def test_every_field_of_every_group_has_a_default() -> None:
    def groups(settings: object) -> list[object]:
        values = [getattr(settings, f.name) for f in fields(settings)]
        return [settings, *(g for value in values if is_dataclass(value) for g in groups(value))]

    for group in groups(Experiment()):
        assert type(group)() == group

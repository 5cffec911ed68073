"""Every cross-check of the settings, by the message it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from litestage.config import (
    DataSettings,
    DropoutSettings,
    EvaluateSettings,
    Experiment,
    ModelSettings,
    ReasoningSettings,
    SearchSettings,
    StageSettings,
    three_stages,
)

ANSWER = StageSettings("answer", "{question} {options}")


def stage(**changes: object) -> StageSettings:
    return StageSettings(**{"name": "recall", "prompt": "{question}", **changes})


def reasoning(*stages: StageSettings, **changes: object) -> ReasoningSettings:
    return ReasoningSettings(stages=list(stages) or [ANSWER], **changes)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: stage(name="re call"), "stage name 're call' must be a plain word"),
    (lambda: stage(name="options"), "stage name 'options' is taken"),
    (lambda: stage(max_new_tokens=0), "stage recall: max_new_tokens must be at least 1"),
    (lambda: stage(loss_weight=-0.1), "stage recall: loss_weight must not be negative"),
    (lambda: stage(cue="For {lable},"), r"the cue uses unknown \['lable'\]; allowed here: \['label', 'option'\]"),
    (lambda: stage(target=" {text}"), r"the target uses unknown \['text'\]; allowed here: \['answer',"),
    (lambda: stage(cue="For {label"), "the cue is 'For {label': expected '}'.* written twice"),
    (lambda: ReasoningSettings(stages=[]), "reasoning.stages is empty"),
    (lambda: reasoning(ANSWER, ANSWER), r"names must differ, got \['answer', 'answer'\]"),
    (lambda: reasoning(batch_size=0), "reasoning.batch_size is 0; at least 1"),
    (lambda: reasoning(temperature=0.0), "reasoning.temperature is 0.0; it must be above 0"),
    (
        lambda: reasoning(stage(prompt="{later}"), ANSWER),
        r"the prompt uses unknown \['later'\]; allowed here: .*question",
    ),
    (lambda: reasoning(stage(prompt="{recall}")), r"the prompt uses unknown \['recall'\]"),
    (lambda: reasoning(stage(prompt="{question} {label}")), r"the prompt uses unknown \['label'\]"),
    (lambda: reasoning(stage(prompt="{question.text}")), r"the prompt uses unknown \['question.text'\]"),
    (lambda: reasoning(stage(prompt="{} {question}")), r"the prompt uses unknown \[''\]"),
    (lambda: reasoning(stage(prompt="{question")), "stage recall: the prompt is '{question': expected '}'"),
    (lambda: reasoning(ANSWER, stage(cue="For {label},")), "stage recall is the last .* must not have a cue"),
    (lambda: ModelSettings(learning_rate=0.0), "model.learning_rate is 0.0; it must be above 0"),
    (lambda: ModelSettings(warmup=1.0), "model.warmup is 1.0; it is a share"),
    (lambda: DropoutSettings(rate=1.1), "model.dropout.rate is 1.1; from 0 to 1.0 when random"),
    (lambda: DropoutSettings(rate=-0.1), "model.dropout.rate is -0.1; from 0 to 1.0 when random"),
    (
        lambda: DropoutSettings(rate=0.6, order="nested", sublayers=[1]),
        "model.dropout.rate is 0.6; from 0 to 0.5 when nested",
    ),
    (lambda: DropoutSettings(ramp=1.1), "model.dropout.ramp is 1.1; it is a share, from 0 to 1"),
    (lambda: DropoutSettings(ramp=-0.1), "model.dropout.ramp is -0.1; it is a share"),
    (lambda: DropoutSettings(order="nested"), "'nested' needs model.dropout.sublayers, the first to leave out first"),
    (lambda: DropoutSettings(order="nested", sublayers=[]), "'nested' needs model.dropout.sublayers"),
    (lambda: DropoutSettings(sublayers=[3, 1, 3]), r"model.dropout.sublayers names some twice: \[3, 1, 3\]"),
    (lambda: DataSettings(batch_size=0), "data.batch_size is 0; at least 1"),
    (lambda: DataSettings(validation_size=0), "data.validation_size is 0; at least 1"),
    (lambda: DataSettings(benchmark="obqa", curriculum_steps=10), "data.curriculum_steps: obqa has no warm-up"),
    (lambda: SearchSettings(eps=1.0), "search.eps is 1.0; it is a share of accuracy"),
    (lambda: SearchSettings(eps=-0.01), "search.eps is -0.01"),
    (lambda: SearchSettings(step=0), "search.step is 0; at least 1"),
    (lambda: SearchSettings(importance_questions=0), "search.importance_questions is 0; at least 1"),
    (lambda: EvaluateSettings(attempts=0), "evaluate.attempts is 0; at least 1"),
    (lambda: ReasoningSettings(batch_size=0), "reasoning.batch_size is 0; at least 1"),
    (lambda: ReasoningSettings(rows=0), "reasoning.rows is 0; at least 1"),
    (lambda: ReasoningSettings(memory=0.0), "reasoning.memory is 0.0 GiB"),
    (lambda: EvaluateSettings(repeats=0), "evaluate.repeats is 0; at least 1"),
    (
        lambda: Experiment(search=SearchSettings(exit_stages=["recall", "think"])),
        r"search.exit_stages names unknown stages \['think'\]; the stages are \['recall', 'analyze', 'summarize'\]",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_setting_is_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("order", "top"), [("random", 1.0), ("nested", 0.5)])
def test_the_ends_of_the_rates_of_dropout_are_allowed(order: Any, top: float) -> None:
    assert [DropoutSettings(rate, ramp, [3, 1], order).rate for rate, ramp in ((0.0, 0.0), (top, 1.0))] == [0.0, top]


def test_a_stage_reads_the_question_its_own_option_and_all_stages_before_it() -> None:
    think = StageSettings("think", "{question} {options} {label} {option} {cue}", cue="For {label}, {option},")
    answer = StageSettings("answer", "{question} {think} {{kept}}")
    assert [s.fans_out for s in reasoning(think, answer).stages] == [True, False]


def test_exit_stages_are_checked_against_the_stages_of_the_same_experiment() -> None:
    made = Experiment(reasoning=reasoning(stage(), ANSWER), search=SearchSettings(exit_stages=["recall"]))
    assert made.search.exit_stages == ["recall"]


def test_two_experiments_share_no_settings() -> None:
    one, two = Experiment(), Experiment()
    one.reasoning.stages[0].max_new_tokens = 1
    one.model.tiny.blocks = 1
    assert two.reasoning.stages == three_stages()
    assert two.model.tiny.blocks != 1


def test_only_the_last_of_the_three_stages_is_greedy_and_only_analyze_fans_out() -> None:
    assert [s.sampled for s in three_stages()] == [True, True, False]
    assert [s.fans_out for s in three_stages()] == [False, True, False]


def test_every_field_of_every_group_has_a_default() -> None:
    def groups(settings: object) -> list[object]:
        values = [getattr(settings, f.name) for f in fields(settings)]
        return [settings, *(g for value in values if is_dataclass(value) for g in groups(value))]

    for group in groups(Experiment()):
        assert type(group)() == group

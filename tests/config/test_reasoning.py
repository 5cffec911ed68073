"""Checks of the stages and the pipeline, by the message they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litestage.config import ReasoningSettings, StageSettings, three_stages

ANSWER = StageSettings("answer", "{question} {options}")


def stage(**changes: object) -> StageSettings:
    return StageSettings(**{"name": "recall", "prompt": "{question}", **changes})


def reasoning(*stages: StageSettings, **changes: object) -> ReasoningSettings:
    return ReasoningSettings(stages=list(stages) or [ANSWER], **changes)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: stage(name="re call"), "stage re call: the name is 're call'; a plain word such as"),
    (lambda: stage(name="options"), r"stage options: the name is taken; so are all of \['cue', 'label'"),
    (lambda: stage(max_new_tokens=0), "stage recall: max_new_tokens is 0; at least 1"),
    (lambda: stage(loss_weight=-0.1), "stage recall: loss_weight is -0.1; it must not be negative"),
    (lambda: stage(cue="For {lable},"), r"the cue uses unknown \['lable'\]; allowed here: \['label', 'option'\]"),
    (
        lambda: stage(target=" {cue}"),
        r"the target uses unknown \['cue'\]; allowed here: \['answer', 'rationale'\] and n",
    ),
    (lambda: stage(target=" {label}"), r"the target uses unknown \['label'\]; allowed here: \['answer', 'rationale'\]"),
    (lambda: stage(target=" {text.upper}"), r"the target uses unknown \['text.upper'\]"),
    (lambda: stage(cue="For {label"), "the cue is 'For {label': expected '}'.* written twice"),
    (lambda: ReasoningSettings(stages=[]), "reasoning.stages is empty"),
    (
        lambda: reasoning(ANSWER, ANSWER),
        r"stage answer: the name occurs twice; names must differ, got \['answer', 'ans",
    ),
    (lambda: reasoning(batch_size=0), "reasoning.batch_size is 0; at least 1"),
    (lambda: reasoning(rows=0), "reasoning.rows is 0; at least 1"),
    (lambda: reasoning(memory=0.0), "reasoning.memory is 0.0 GiB"),
    (lambda: reasoning(temperature=0.0), "reasoning.temperature is 0.0; it must be above 0"),
    (lambda: reasoning(answer_pattern="[A-Z]"), r"answer_pattern '\[A-Z\]' needs a group around the label"),
    (lambda: reasoning(stage(loss_weight=0.0)), "every stage has loss_weight 0; nothing to learn"),
    (
        lambda: reasoning(stage(prompt="{answer}"), ANSWER),
        r"stage recall: the prompt uses \['answer'\], which come no earlier than it; allowed here: \['options', 'que",
    ),
    (lambda: reasoning(stage(prompt="{recall}")), r"the prompt uses \['recall'\], which come no earlier"),
    (lambda: reasoning(stage(prompt="{recal}"), ANSWER), r"the prompt uses unknown \['recal'\]; allowed here: .*ques"),
    (
        lambda: reasoning(stage(prompt="{question} {label}")),
        r"the prompt uses unknown \['label'\].*; a stage with a cue also has \{cue\}, \{label\} and \{option\}",
    ),
    (
        lambda: reasoning(stage(cue="For {label},"), ANSWER),
        r"the prompt uses none of \{cue\}.* would be asked the same",
    ),
    (lambda: reasoning(stage(prompt="{question.text}")), r"the prompt uses unknown \['question.text'\]"),
    (lambda: reasoning(stage(prompt="{} {question}")), r"the prompt uses unknown \[''\]"),
    (lambda: reasoning(stage(prompt="{question")), "stage recall: the prompt is '{question': expected '}'"),
    (
        lambda: reasoning(ANSWER, stage(cue="For {label},", prompt="{cue}")),
        "stage recall: the cue must be empty in the last stage",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_setting_is_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stage_reads_the_question_its_own_option_and_all_stages_before_it() -> None:
    think = StageSettings("think", "{question} {options} {label} {option} {cue}", cue="For {label}, {option},")
    answer = StageSettings("answer", "{question} {think} {{kept}}")
    assert [s.fans_out for s in reasoning(think, answer).stages] == [True, False]


def test_only_the_last_of_the_three_stages_is_greedy_and_only_analyze_fans_out() -> None:
    assert [s.sampled for s in three_stages()] == [True, True, False]
    assert [s.fans_out for s in three_stages()] == [False, True, False]

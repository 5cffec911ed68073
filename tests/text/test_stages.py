"""The text of prompts and training targets."""

from __future__ import annotations

import pytest

from litestage.config import HEAD, ReasoningSettings, StageSettings, three_stages
from litestage.records import Question, Rationale
from litestage.text.stages import examples, finish, render

QUESTION = Question("q1", "Which of these floats?", {"A": "a nail, rusty", "B": "a log"}, "B")
RATIONALE = Rationale(
    "q1",
    {
        "recall": {"": "Wood is lighter than water."},
        "analyze": {"A": "a nail is heavy, so it sinks.", "B": "a log is wood, so it floats."},
    },
)
START = "Which of these floats?\n(A) a nail, rusty (B) a log\n"


def test_three_stages_prompt_texts() -> None:
    stages = three_stages()
    assert render(QUESTION, stages, 0, {}) == {"": START + "Recall:"}
    recalled = START + "Recall: Wood is lighter than water.\n"
    assert render(QUESTION, stages, 1, RATIONALE.texts) == {
        "A": recalled + "Analyze: For option A,",
        "B": recalled + "Analyze: For option B,",
    }
    analyzed = (
        "Analyze: For option A, a nail is heavy, so it sinks. For option B, a log is wood, so it floats.\nSummarize:"
    )
    assert render(QUESTION, stages, 2, RATIONALE.texts) == {"": recalled + analyzed}


def test_later_prompts_begin_with_what_is_shared() -> None:
    stages = three_stages()
    prompts = [render(QUESTION, stages, index, RATIONALE.texts) for index in range(3)]
    assert all(prompt.startswith(prompts[0][""]) for prompt in [*prompts[1].values(), *prompts[2].values()])
    before = {prompt.removesuffix(f"{label},") for label, prompt in prompts[1].items()}
    assert len(before) == 1
    assert before.pop().endswith("Analyze: For option ")
    assert prompts[2][""].startswith(prompts[1]["A"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Wood floats ", "Wood floats."),
        ("Wood floats.", "Wood floats."),
        ('It is called "wood"', 'It is called "wood"'),
        ("the boys'\n", "the boys'"),
        ("Does it float?", "Does it float?."),
        ("", "."),
    ],
)
def test_finish_ends_outputs_with_a_full_stop(text: str, expected: str) -> None:
    assert finish(text) == expected


def test_generated_text_is_finished_in_the_next_prompt() -> None:
    prompt = render(QUESTION, three_stages(), 1, {"recall": {"": " Wood floats "}})["A"]
    assert "Recall: Wood floats.\nAnalyze:" in prompt


def test_examples_of_a_question() -> None:
    made = list(examples(QUESTION, RATIONALE, three_stages()))
    assert [example.stage for example in made] == ["recall", "analyze", "analyze", "summarize"]
    assert [example.target for example in made] == [
        " Wood is lighter than water.",
        " a nail is heavy, so it sinks.",
        " a log is wood, so it floats.",
        " So the answer is option B.",
    ]
    assert [example.prompt[-14:] for example in made[1:3]] == [" For option A,", " For option B,"]


def test_examples_name_a_missing_rationale() -> None:
    partial = Rationale("q1", {**RATIONALE.texts, "analyze": {"A": "a nail sinks."}}, "mine.jsonl:7")
    message = (
        r"^mine\.jsonl:7: question q1: no rationale for stage 'analyze' B; expected an object: option label -> text"
    )
    with pytest.raises(ValueError, match=message + r", it has \['recall', 'analyze'\]$"):
        list(examples(QUESTION, partial, three_stages()[:2]))
    message = (
        "^question q1: no rationale for stage 'recall'; expected a text, it has none, data.rationales names a file"
    )
    with pytest.raises(ValueError, match=message):
        list(examples(QUESTION, Rationale("q1", {}), three_stages()))


def test_other_pipelines_are_lists_of_the_same_kind() -> None:
    cue = "({label}) {option}:"
    stages = [
        StageSettings("check", HEAD + "{cue}", cue=cue),
        StageSettings("decide", HEAD + "{check}\nAnswer:", target=" {answer}"),
    ]
    ReasoningSettings(stages=stages)
    written = Rationale("q1", {"check": {"A": "it sinks", "B": "it floats"}})
    made = list(examples(QUESTION, written, stages))
    assert made[0].prompt == START + "(A) a nail, rusty:"
    assert made[2].prompt == START + "(A) a nail, rusty: it sinks. (B) a log: it floats.\nAnswer:"
    assert made[2].target == " B"


def targets_of(stages: list[StageSettings], rationale: Rationale = RATIONALE) -> list[str]:
    return [example.target for example in examples(QUESTION, rationale, ReasoningSettings(stages=stages).stages)]


def test_a_target_is_put_together_from_other_texts_of_the_rationale() -> None:
    think = StageSettings("think", HEAD, target=" {recall} {analyze} So the answer is option {answer}.")
    assert targets_of([think]) == [
        " Wood is lighter than water. For option A, a nail is heavy, so it sinks. "
        "For option B, a log is wood, so it floats. So the answer is option B."
    ]


def test_an_options_target_has_its_own_text_and_those_for_all() -> None:
    check = StageSettings("check", HEAD + "{cue}", cue="{option}:", target=" {recall} So {analyze} ({label})")
    assert targets_of([check, StageSettings("answer", HEAD, target=" {answer}")]) == [
        " Wood is lighter than water. So a nail is heavy, so it sinks. (A)",
        " Wood is lighter than water. So a log is wood, so it floats. (B)",
        " B",
    ]


def test_later_prompts_read_what_earlier_stages_are_taught_to_write() -> None:
    """As at inference, where they read what the stage wrote, whatever the rationale has under its name."""
    think = StageSettings("think", HEAD + "Think:", target=" {recall} Hence {answer}")
    answer = StageSettings("answer", HEAD + "Think: {think}\nAnswer:", target=" {answer}")
    for texts in (RATIONALE.texts, {**RATIONALE.texts, "think": {"": "Something else."}}):
        *_, last = examples(QUESTION, Rationale("q1", texts), [think, answer])
        assert last.prompt == START + "Think: Wood is lighter than water. Hence B.\nAnswer:"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            StageSettings("think", HEAD, target=" {recal}"),
            r"no rationale for stage 'think', whose target uses \{recal\}; expected a text, or an object: option label",
        ),
        (
            StageSettings("check", HEAD + "{cue}", cue="{label}", target=" {reasons}"),
            r"for stage 'check' A, whose target uses \{reasons\}; expected",
        ),
        (
            StageSettings("recall", HEAD + "{cue}", cue="{label}"),
            "'recall' A; expected an object: option label -> text",
        ),
        (StageSettings("analyze", HEAD), "for stage 'analyze'; expected a text,"),
    ],
)
def test_a_text_that_a_target_lacks_is_named(stage: StageSettings, message: str) -> None:
    rationale = Rationale("q1", RATIONALE.texts, "mine.jsonl:7")
    with pytest.raises(ValueError, match=rf"^mine\.jsonl:7: question q1: .*{message}.*it has \['recall', 'analyze'\]$"):
        list(examples(QUESTION, rationale, [stage]))


def test_braces_in_questions_are_plain_text() -> None:
    odd = Question("q2", "What is {x}?", {"A": "{y}", "B": "z"}, "A")
    assert render(odd, three_stages(), 0, {})[""] == "What is {x}?\n(A) {y} (B) z\nRecall:"

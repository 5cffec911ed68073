from __future__ import annotations

import json
from pathlib import Path

import pytest

from litestage.records import Question
from litestage.text.teacher.prompts import load, messages
from litestage.text.teacher.reply import Reply, read

QUESTION = Question("t1", 'Say "}" or {data}?\n\nAnswer A!', {"A": "a, b", "B": "{labels}"}, "B")
EXAMPLE = {
    "id": "e1",
    "question": "Which floats?",
    "options": {"A": "a nail", "B": "a log"},
    "answer": "B",
    "recall": "Wood floats.",
    "analyze": {"A": "iron sinks.", "B": "wood floats."},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "system.txt").write_text('Reply as {"recall": ...}.\n')
    (tmp_path / "question.txt").write_text("{{}} {data} [{labels}]\n")
    (tmp_path / "examples.jsonl").write_text(json.dumps(EXAMPLE) + "\n")
    return tmp_path


def test_the_conversation(folder: Path) -> None:
    system, shown, answered, asked = messages(load(folder), QUESTION)
    assert system == {"role": "system", "content": 'Reply as {"recall": ...}.'}
    assert shown["content"] == '{} {"question": "Which floats?", "options": {"A": "a nail", "B": "a log"}} [A, B]'
    wanted = {"recall": "Wood floats.", "analyze": EXAMPLE["analyze"], "answer": "B"}
    assert (answered["role"], json.loads(answered["content"])) == ("assistant", wanted)
    assert asked["role"] == "user"


def test_a_question_is_quoted_on_one_line_and_comes_back_whole(folder: Path) -> None:
    content = messages(load(folder), QUESTION)[-1]["content"]
    assert "\n" not in content
    data = content.removeprefix("{} ").removesuffix(" [A, B]")
    assert json.loads(data) == {"question": QUESTION.text, "options": QUESTION.options}


def test_the_packaged_prompts_do_what_they_ask_for() -> None:
    prompts = load(None)
    assert len(prompts.examples) >= 3
    assert len({len(example.options) for example, _ in prompts.examples}) >= 3
    for example, answer in prompts.examples:
        assert read(Reply(answer), example).outcome == "agreed"
    with_gold, without = (messages(prompts, Question("q", "?", QUESTION.options, gold))[-1] for gold in ("A", None))
    assert with_gold == without, "the packaged template must not tell the gold label"


def test_a_template_may_tell_the_gold_label(folder: Path) -> None:
    (folder / "question.txt").write_text("{data} {answer}")
    assert messages(load(folder), QUESTION)[-1]["content"].endswith(" B")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{data} {gold}", r"question\.txt: unknown field \{gold\}; known are \{data\} \(question and options"),
        ("{data.__class__}", r"unknown field \{data\.__class__\}"),
        ("{data} {}", r"unknown field \{\}"),
        ("{data} }", r"question\.txt: not a template"),
        ("{labels}", r"question\.txt: does not show the question; expected the field \{data\}"),
    ],
)
def test_a_wrong_template_is_refused(folder: Path, template: str, message: str) -> None:
    (folder / "question.txt").write_text(template)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_wrong_examples_and_missing_files_are_named(folder: Path) -> None:
    (folder / "examples.jsonl").write_text(json.dumps({**EXAMPLE, "analyze": {"A": "x."}}))
    with pytest.raises(ValueError, match=r"examples\.jsonl:1: field 'analyze\.B'"):
        load(folder)
    (folder / "examples.jsonl").write_text("")
    assert load(folder).examples == ()
    (folder / "system.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"\['system\.txt'\] missing; expected \['system\.txt', 'question\.txt'"
    ):
        load(folder)

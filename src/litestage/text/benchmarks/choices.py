"""Rows of multiple-choice benchmarks, as OpenBookQA and CommonsenseQA have them, in their files and on the hub.

{"id": "7-980", "question": {"stem": "...", "choices": [{"text": "...", "label": "A"}, ...]}, "answerKey": "D"}
{"id": "7-980", "question_stem": "...", "choices": {"text": ["...", ...], "label": ["A", ...]}, "answerKey": "D"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from litestage.records import Question
from litestage.text.benchmarks.sources import Origin, read, unique
from litestage.text.jsonl import bad, text


def questions(source: str, origin: Origin) -> dict[str, list[Question]]:
    """Split -> questions.

    Args:
        source: folder with the original files, or a hub id, with or without `@revision`.
        origin: what is looked for.

    Raises:
        FileNotFoundError: there is neither such a folder nor such a data set, or a file is missing.
        ValueError: a row is wrong, or an id occurs twice; the message names file, line and field.
    """
    return unique((split, where, question(row, where)) for split, where, row in read(source, origin))


def question(row: Mapping[str, Any], where: str) -> Question:
    """The checked question of a row in either form. Options may repeat a text: some of CommonsenseQA's do."""
    stem: Any
    choices: Any
    if "choices" in row:  # the hub's columns
        stem, choices = row.get("question_stem", row.get("question")), _paired(row["choices"], where)
    else:
        inner = row.get("question")
        if not isinstance(inner, dict):
            raise bad(where, "question", inner, "an object with stem and choices")
        stem, choices = inner.get("stem"), inner.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise bad(where, "question.choices", choices, "a list of objects with text and label")
    options: dict[str, str] = {}
    for number, choice in enumerate(choices):
        label = choice.get("label")
        if not isinstance(label, str) or not re.fullmatch("[A-Z]", label) or label in options:
            raise bad(where, f"choices[{number}].label", label, "one capital letter that no other choice has")
        options[label] = text(choice, "text", where, f"choices[{number}].text")
    if len(options) < 2:
        raise bad(where, "choices", choices, "at least two choices")
    answer = row.get("answerKey")
    if not isinstance(answer, str) or answer not in options:
        raise bad(where, "answerKey", answer, f"one of the labels {list(options)}")
    return Question(text(row, "id", where), text({"stem": stem}, "stem", where), options, answer)


def _paired(choices: Any, where: str) -> list[dict[str, Any]]:
    """The hub's two lists as a list of objects."""
    if not isinstance(choices, dict) or len(choices.get("text", ())) != len(choices.get("label", ())):
        raise bad(where, "choices", choices, "as many texts as labels")
    pairs = zip(choices.get("text", ()), choices.get("label", ()), strict=True)
    return [{"text": said, "label": label} for said, label in pairs]

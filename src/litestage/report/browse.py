"""Questions and answers as the page shows them: which ones, and what differs from full depth word by word.

    packed = pack(read_answers(folder / "answers.jsonl"))
    packed["shown"], packed["total"]       # 300, 1221

A page holds a few hundred questions: those that the methods answer differently first, then the first of the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from litestage.report.answers import Answer, Answered, Output

MOST_QUESTIONS = 300
MOST_BYTES = 2_000_000
"""What questions may take of a page."""
SAME, NEW, GONE = 0, 1, 2
"""Kinds of a piece of text: as at full depth, only here, only at full depth."""

Pieces = list[tuple[int, str]]


def pack(answered: Sequence[Answered], most: int = MOST_QUESTIONS, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """What the page embeds: `methods`, `total`, `shown`, `differing` (how many of `total`), `questions`.

    The first method of the file is what the others are compared with. A cell of a question's stage holds `tokens`,
    `stop` and `text`; or `pieces` where it differs from the first method's text, or neither where it does not.
    """
    methods = list(dict.fromkeys(name for one in answered for name in one.answers))
    differing = [number for number, one in enumerate(answered) if differs(one)]
    chosen = set(differing)
    size, kept = 0, {}
    for number in [*differing, *(n for n in range(len(answered)) if n not in chosen)][:most]:
        question = _question(answered[number], methods)
        size += _size(question)
        if size > most_bytes:
            break
        kept[number] = question
    questions = [kept[number] for number in sorted(kept)]
    return {
        "methods": methods,
        "total": len(answered),
        "shown": len(questions),
        "differing": len(differing),
        "questions": questions,
    }


def differs(one: Answered) -> bool:
    """Whether the methods disagree on the answer."""
    return len({answer.answer for answer in one.answers.values()}) > 1


def pieces(before: str, after: str) -> Pieces:
    """The text `after` in pieces of whole words that are as in `before`, new, or gone.

    pieces("Wood floats well.", "Wood sinks.")    # [(0, "Wood"), (2, "floats well."), (1, "sinks.")]
    """
    old, new = before.split(), after.split()
    out: Pieces = []
    for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            out.append((SAME, " ".join(new[j:j_end])))
            continue
        if i < i_end:
            out.append((GONE, " ".join(old[i:i_end])))
        if j < j_end:
            out.append((NEW, " ".join(new[j:j_end])))
    return out


def _question(one: Answered, methods: Sequence[str]) -> dict[str, Any]:
    by_place: dict[tuple[str, str], dict[str, Output]] = {}
    for name, answer in one.answers.items():
        for output in answer.outputs:
            by_place.setdefault((output.stage, output.option), {})[name] = output
    return {
        "id": one.question.id,
        "text": one.question.text,
        "options": list(one.question.options.items()),
        "gold": one.question.answer,
        "answers": [_label(one.answers, name) for name in methods],
        "outputs": [
            {"stage": stage, "option": option, "cells": _cells(outputs, methods)}
            for (stage, option), outputs in by_place.items()
        ],
    }


def _size(question: Mapping[str, Any]) -> int:
    """Bytes of a question on the page, where the signs of HTML are escaped."""
    text = json.dumps(question, ensure_ascii=False)
    return len(text.encode(errors="replace")) + 5 * sum(text.count(sign) for sign in "<>&'")


def _label(answers: Mapping[str, Answer], name: str) -> str | None:
    return answers[name].answer if name in answers else None


def _cells(outputs: Mapping[str, Output], methods: Sequence[str]) -> list[dict[str, Any] | None]:
    """One cell a method, `None` for a method that wrote nothing here."""
    first = outputs.get(methods[0])
    out: list[dict[str, Any] | None] = []
    for name in methods:
        output = outputs.get(name)
        if output is None:
            out.append(None)
            continue
        cell: dict[str, Any] = {"tokens": output.tokens, "stop": output.stop}
        if first is None or output is first:
            cell["text"] = output.text
        elif output.text != first.text:
            cell["pieces"] = pieces(first.text, output.text)
        out.append(cell)
    return out

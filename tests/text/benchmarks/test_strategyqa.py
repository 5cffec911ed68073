from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Question
from litestage.text.benchmarks.strategyqa import ORIGIN, key, read

Write = Callable[..., Path]


def rows(start: int, stop: int, release: str = "r1") -> list[dict[str, Any]]:
    """Questions as one release numbers them, the second one in another order."""
    factor = 1 if release == "r1" else 7
    return [
        {
            "qid": f"{release}-{i * factor % 50:02d}",
            "term": "x",
            "question": f"Is {i} odd?",
            "answer": i % 2 == 1,
            "facts": [],
        }
        for i in range(start, stop)
    ]


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    write(tmp_path / "train.json", rows(0, 45))
    write(tmp_path / "dev.json", rows(45, 50))
    return tmp_path


def texts(found: dict[str, list[Question]]) -> dict[str, list[str]]:
    return {split: [q.text for q in questions] for split, questions in found.items()}


def test_yes_and_no_are_the_options(folder: Path) -> None:
    found = {q.text: q for questions in read(str(folder), seed=0).values() for q in questions}
    assert found["Is 3 odd?"] == Question("r1-03", "Is 3 odd?", {"A": "yes", "B": "no"}, "A")
    assert found["Is 4 odd?"].answer == "B"


def test_all_rows_are_pooled_and_dealt_by_the_seed(folder: Path) -> None:
    found = read(str(folder), seed=0)
    assert {split: len(questions) for split, questions in found.items()} == {"train": 40, "validation": 5, "test": 5}
    assert texts(read(str(folder), seed=0)) == texts(found)
    assert texts(read(str(folder), seed=1))["test"] != texts(found)["test"]


@pytest.mark.parametrize("source", ["zip", "hub"])
def test_every_release_holds_out_the_same_questions(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, write: Write, hub: Any, source: str
) -> None:
    """The releases number the questions differently, and the hub cuts them elsewhere."""
    expected = texts(read(str(folder), seed=0))
    if source == "zip":
        other = tmp_path_factory.mktemp("zip")
        write(other / "strategyqa_train.json", rows(0, 50, "r2"))
        found = read(str(other), seed=0)
    else:
        calls = hub({"train": rows(20, 50, "r2"), "test": rows(0, 20, "r2")})
        found = read(ORIGIN.hub, seed=0)
        assert calls == [("ChilleD/StrategyQA", None, None)]
    assert texts(found) == expected
    assert found["test"][0].id.startswith("r2-")


def test_the_key_ignores_case_and_blanks() -> None:
    keys = [key(Question("x", text, {}, "A")) for text in ("Is 3 odd?", " is  3\nODD?", "Is 4 odd?")]
    assert keys[0] == keys[1] == "65795890b2edfb929eb1"
    assert keys[2] != keys[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "yes"}, "field 'answer': value 'yes'; expected true or false"),
        ({"answer": None}, "field 'answer': value None; expected true or false"),
        ({"qid": ""}, "field 'qid': value ''; expected a text that is not empty"),
        ({"question": None}, "field 'question': value None; expected a text"),
        ({"qid": "r1-45"}, r"field 'id': value 'r1-45'; expected an id that occurs once; .*dev\.json row 1 has it"),
    ],
)
def test_a_bad_row_is_named(folder: Path, write: Write, change: dict[str, Any], message: str) -> None:
    made = rows(45, 50)
    write(folder / "dev.json", [*made[:1], {**made[1], **change}, *made[2:]])
    with pytest.raises(ValueError, match=rf"dev\.json row 2: {message}"):
        read(str(folder), seed=0)


def test_too_few_questions(folder: Path, write: Write) -> None:
    write(folder / "train.json", [])
    write(folder / "dev.json", rows(0, 2))
    with pytest.raises(ValueError, match="found 2 questions; three splits need at least 3"):
        read(str(folder), seed=0)

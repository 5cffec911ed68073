from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from litestage.records import Question
from litestage.text.benchmarks import split_hash
from litestage.text.benchmarks.own import grouped, read

Write = Callable[..., Path]


def row(id_: str, split: str | None = None, **changes: Any) -> dict[str, Any]:
    made = {"id": id_, "question": f"Which {id_}?", "options": {"B": "a nail", "A": "a log"}, "answer": "A"}
    return {**made, **({"split": split} if split else {}), **changes}


def test_the_field_split_is_kept(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "q.jsonl", [row("a", "test"), row("b", "train"), row("c", "validation"), row("d", "test")])
    found = read(path, seed=0)
    assert {split: [q.id for q in made] for split, made in found.items()} == {
        "train": ["b"],
        "validation": ["c"],
        "test": ["a", "d"],
    }
    assert found["train"] == [Question("b", "Which b?", {"B": "a nail", "A": "a log"}, "A")]
    assert list(found["train"][0].options) == ["B", "A"]


def test_without_the_field_the_seed_deals(tmp_path: Path, write: Write) -> None:
    rows = [row(f"q{i}") for i in range(20)]
    path = write(tmp_path / "q.jsonl", rows)
    found = read(path, seed=0)
    assert {split: len(made) for split, made in found.items()} == {"train": 16, "validation": 2, "test": 2}
    assert split_hash(found["train"]) == "61ee2112a2a4"
    assert read(write(tmp_path / "r.jsonl", rows[::-1]), seed=0) == found
    assert read(path, seed=1)["test"] != found["test"]


def test_from_two_to_twenty_six_options(tmp_path: Path, write: Write) -> None:
    every = {label: f"thing {label}" for label in ascii_uppercase}
    made = [row("a", options=every, answer="Z"), row("b"), row("c")]
    (found,) = [q for q in grouped(write(tmp_path / "q.jsonl", made))[""] if q.id == "a"]
    assert (found.options, found.answer) == (every, "Z")


TOO_MANY = {**dict.fromkeys(ascii_uppercase), "AA": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7}, "field 'id': value 7; expected a text that is not empty"),
        ({"id": "a"}, r"field 'id': value 'a'; expected an id that occurs once; .*q\.jsonl:1 has it too"),
        ({"question": " "}, "field 'question': value ' '; expected a text that is not empty"),
        ({"options": ["x", "y"]}, r"field 'options': value \['x', 'y'\]; expected an object with 2 to 26 options"),
        ({"options": {"A": "x"}}, "field 'options': .*expected an object with 2 to 26 options"),
        ({"options": TOO_MANY}, "field 'options': .*expected an object with 2 to 26 options"),
        ({"options": {"A": "x", "b": "y"}}, r"field 'options\.b': value 'b'; expected one capital letter"),
        ({"options": {"A": "x", "AB": "y"}}, r"field 'options\.AB': value 'AB'; expected one capital letter"),
        ({"options": {"A": "x", "B": ""}}, r"field 'options\.B': value ''; expected a text that is not empty"),
        ({"options": {"A": "x", "B": " x"}}, r"field 'options\.B': value 'x'; .*no other option has; A has it too"),
        ({"answer": "C"}, r"field 'answer': value 'C'; expected one of the labels \['B', 'A'\]"),
        ({"answer": "a log"}, r"field 'answer': value 'a log'; expected one of the labels"),
        ({"answer": None}, "field 'answer': value None; expected one of the labels"),
        (
            {"split": "dev"},
            r"field 'split': value 'dev'; expected one of \['train', 'validation', 'test'\], or no split",
        ),
        (
            {"split": "test"},
            r"field 'split': value 'test'; expected none, as in .*q\.jsonl:1: every line names a split",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, write: Write, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "q.jsonl", [row("a"), row("b", **change), row("c")])
    with pytest.raises(ValueError, match=message) as error:
        read(path, seed=0)
    assert str(error.value).startswith(f"{path}:2: ")


def test_a_split_is_named_in_all_lines_or_in_none(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "q.jsonl", [row("a", "train"), row("b")])
    with pytest.raises(ValueError, match=r"q\.jsonl:2: field 'split': value None; expected one of .*q\.jsonl:1"):
        read(path, seed=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "b\xff"}', r"byte b'\\xff' at position 9; save the file as UTF-8"),
        (b'{"id": ', "not a line of JSON"),
        (json.dumps(row("b")).replace('"A":', '"B":').encode(), "field 'B' occurs twice in one object"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, write: Write, line: bytes, message: str) -> None:
    path = write(tmp_path / "q.jsonl", [row("a")])
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(ValueError, match=rf"q\.jsonl:2: .*{message}"):
        read(path, seed=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "found 0 questions; three splits need at least 3"),
        ([row("a"), row("b")], "found 2 questions; three splits need at least 3"),
        ([row("a", "train"), row("b", "test")], r"no question has the split \['validation'\]; use all of .*or leave"),
    ],
)
def test_no_split_may_be_empty(tmp_path: Path, write: Write, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "q.jsonl", rows), seed=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl: no such file; expected JSON lines with id, question"):
        read(tmp_path / "nowhere.jsonl", seed=0)

"""`python -m litestage.text.rationales check`: every problem is listed, the status tells whether there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from litestage.text.rationales.__main__ import main

SOUND = {"id": "t1", "recall": "Wood floats.", "analyze": {"A": "a nail sinks.", "B": "a log floats."}}
OPTIONS = {"A": "a nail", "B": "a log"}


def write(path: Path, *lines: dict[str, Any] | str) -> str:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def questions(path: Path, splits: dict[str, str | None]) -> str:
    made = [{"id": id_, "question": "Which?", "options": OPTIONS, "answer": "B"} for id_ in splits]
    return write(path, *({**row, "split": split} for row, split in zip(made, splits.values(), strict=True)))


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, list[str]]:
    """Status and printed lines."""
    with pytest.raises(SystemExit) as stopped:
        main(["check", *arguments])
    return stopped.value.code, capsys.readouterr().out.splitlines()


def test_a_sound_file_ends_with_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", SOUND, SOUND, {**SOUND, "id": "t2"})
    assert check(capsys, path) == (0, ["problems: 0; sound rationales: 3, for 2 questions"])


def test_every_problem_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", {"id": "t1"}, "{broken", "[1]", SOUND, {**SOUND, "recall": ""})
    status, lines = check(capsys, path)
    assert status == 1
    assert [line.removeprefix(path).split(": ")[0] for line in lines[:-1]] == [":1", ":1", ":2", ":3", ":5"]
    assert lines[-1] == "problems: 5; sound rationales: 1, for 1 questions"


def test_questions_say_what_is_unknown_and_what_is_covered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", SOUND, {**SOUND, "id": "t9"})
    asked = questions(tmp_path / "q.jsonl", {"t1": "train", "t2": "train", "t3": "test"})
    status, lines = check(capsys, path, "--questions", asked)
    assert status == 1
    assert "mine.jsonl:2: field 'id': value 't9'; expected the id of one of the 3 questions" in lines[0]
    assert lines[1:] == [
        "problems: 1; sound rationales: 1, for 1 questions",
        "train: 1 of 2 covered, 1 not",
        "test: 0 of 1 covered, none needed",
    ]
    asked = questions(tmp_path / "q.jsonl", dict.fromkeys(["t1", "t9", "t3"]))
    assert check(capsys, path, "--questions", asked)[1][-1] == "questions: 2 of 3 covered, 1 not"


def test_stages_may_be_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", {"id": "t1", "think": "so."})
    assert check(capsys, path, "--stages", "think")[0] == 0
    assert check(capsys, path)[0] == 1


def test_an_empty_file_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = check(capsys, write(tmp_path / "mine.jsonl"))
    assert (status, len(lines)) == (1, 2)
    assert "no rationale in it" in lines[0]


@pytest.mark.parametrize("arguments", [["nowhere.jsonl"], ["mine.jsonl", "--questions", "nowhere.jsonl"]])
def test_a_file_that_cannot_be_read_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.jsonl", SOUND)
    with pytest.raises(SystemExit) as stopped:
        main(["check", *arguments])
    assert stopped.value.code == 2
    assert "error: nowhere.jsonl: no such file" in capsys.readouterr().err


def convert(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        main(["convert", *arguments])
    return stopped.value.code


def test_convert_goes_to_tinythinkers_files_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = write(
        tmp_path / "q.jsonl",
        *(
            {"id": id_, "question": f"Which, {id_}?", "options": OPTIONS, "answer": "B", "split": split}
            for id_, split in [("t1", "train"), ("t2", "validation"), ("t3", "test")]
        ),
    )
    mine = write(tmp_path / "mine.jsonl", SOUND, {**SOUND, "recall": "Iron sinks."}, {**SOUND, "id": "t2"})
    folder, back = str(tmp_path / "sft"), str(tmp_path / "back.jsonl")
    assert convert(mine, folder, "--questions", asked) == 0
    assert convert(folder, back, "--questions", asked) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote 2 of 3 rationales; the others are not of training questions",
        "wrote 2 rationales of 1 questions",
        "its validation questions are here: train 0, validation 1, test 0",
        "its test questions are here: train 0, validation 0, test 1",
    ]
    assert Path(back).read_text() == "".join(Path(mine).read_text().splitlines(keepends=True)[:2])
    assert convert(folder, back, "--questions", asked) == 2
    assert "back.jsonl exists already" in capsys.readouterr().err
    assert check(capsys, folder, "--questions", asked)[1] == [
        "problems: 0; sound rationales: 2, for 1 questions",
        "train: 1 of 1 covered, 0 not",
        "validation: 0 of 1 covered, none needed",
        "test: 0 of 1 covered, none needed",
    ]


def test_convert_needs_a_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(tmp_path / "mine.jsonl", SOUND)
    assert convert(mine, str(tmp_path / "other.jsonl"), "--questions", "obqa") == 2
    assert "expected a .jsonl file and a folder with TinyThinker's files, in either order" in capsys.readouterr().err
    assert convert(mine, str(tmp_path / "sft"), "--questions", "arc") == 2
    assert "data.benchmark is 'arc'" in capsys.readouterr().err


def test_left_out_rationales_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = questions(tmp_path / "q.jsonl", {"t1": "train", "t2": "validation", "t3": "test"})
    assert convert(write(tmp_path / "mine.jsonl", SOUND), str(tmp_path / "sft"), "--questions", asked) == 0
    path = tmp_path / "sft" / "summarize.json"
    path.write_text(path.read_text().replace('"GT": "B"', '"GT": "A"'))
    capsys.readouterr()
    _, lines = check(capsys, str(tmp_path / "sft"), "--questions", asked)
    assert lines[0].startswith("warning: ")
    assert "1 of 1 rationales are left out" in lines[0]

"""`python -m litestage.text.teacher`: from questions to a file that `data.rationales` takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from litestage.config import DataSettings
from litestage.text import benchmarks
from litestage.text.rationales.__main__ import main as rationales_main
from litestage.text.teacher import __main__ as teacher
from litestage.text.teacher.__main__ import main

from .conftest import KEY, Say, Server, good


@pytest.fixture
def questions(tmp_path: Path) -> str:
    """Four training questions; B is right."""
    splits = ["train"] * 4 + ["validation", "test"]
    options = {"A": "a nail", "B": "a log, dry"}
    rows = [
        {"id": f"t{i}", "question": f"Which floats, {i}?", "options": options, "answer": "B", "split": split}
        for i, split in enumerate(splits)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--model", "m"])
    return stopped.value.code


def test_what_is_written_is_sound_and_is_learned_from(
    server: Server, questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.jsonl"
    server.script = lambda data, number: Say(good(data, number, answer="AB"[number % 2]))
    assert run(questions, str(target), "--samples", "3", "--keep", "2", "--concurrency", "1") == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "requests: 12 to 36; 0 replies are in the journal"
    assert {"agreed: 12", "given up: 0 of 12 slots; still open: 0"} < set(lines)
    assert lines[-1] == "rationales: 8, for 4 of 4 questions"
    assert KEY not in shown.out + shown.err
    with pytest.raises(SystemExit) as stopped:
        rationales_main(["check", str(target), "--questions", questions])
    assert stopped.value.code == 0
    assert "train: 4 of 4 covered, 0 not" in capsys.readouterr().out
    learned = benchmarks.load(DataSettings(benchmark=questions, rationales=str(target)), seed=0).train
    assert [question.id for question, _ in learned] == ["t0", "t0", "t1", "t1", "t2", "t2", "t3", "t3"]


def test_a_dry_run_asks_nothing_and_needs_no_key(
    questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    prices = ["--price-in", "1", "--price-out", "2"]
    assert run(questions, str(tmp_path / "mine.jsonl"), "--dry-run", "--first", "2", *prices) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["requests", "tokens, estimated", "cost, estimated"]
    assert lines[0].startswith("requests: 8 to 24")
    assert [path.name for path in tmp_path.iterdir()] == ["questions.jsonl"]


def test_a_second_run_asks_nothing(
    server: Server, questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.jsonl"
    assert run(questions, str(target)) == 0
    asked, written = len(server.bodies), target.read_text()
    target.unlink()
    assert run(questions, str(target)) == 0
    assert (len(server.bodies), target.read_text()) == (asked, written)
    assert "asked: 16 (0 in this run)" in capsys.readouterr().out


def test_a_killed_run_goes_on_without_asking_twice(server: Server, questions: str, tmp_path: Path) -> None:
    """The server kills the program when its sixth request is in flight: only that one is asked again."""
    target = tmp_path / "mine.jsonl"
    command = [questions, str(target), "--model", "m", "--concurrency", "1", "--samples", "3"]
    with subprocess.Popen(
        [sys.executable, "-m", "litestage.text.teacher", *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:

        def script(data: dict[str, str], number: int) -> Say:
            if len(server.bodies) == 6 and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            return Say(good(data, number))

        server.script = script
        said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    assert not target.exists()
    with (tmp_path / "mine.journal.jsonl").open("ab") as journal:
        journal.write(b'{"key": "to')
    with pytest.warns(UserWarning, match="the last line is torn, 11 bytes are dropped"):
        assert run(*command[:2], *command[4:]) == 0
    assert len(server.bodies) == 12 + 1
    assert len(target.read_text().splitlines()) == 8
    assert KEY not in said + "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_run_that_stops_keeps_what_it_has(
    server: Server, questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.jsonl"
    server.script = lambda data, number: Say(status=401) if len(server.bodies) > 5 else Say(good(data, number))
    assert run(questions, str(target), "--concurrency", "1") == 2
    shown = capsys.readouterr()
    assert "stopped: AuthenticationError" in shown.err
    assert "mine.journal.jsonl has every reply; the same command goes on from there" in shown.err
    assert "given up: 0 of 16 slots; still open: 11" in shown.out
    assert {json.loads(line)["id"] for line in target.read_text().splitlines()} == {"t0", "t1"}


def test_an_interrupted_run_keeps_what_it_has(
    questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(teacher, "_ask", interrupted)
    assert run(questions, str(tmp_path / "mine.jsonl")) == 130
    assert "stopped: interrupted" in capsys.readouterr().err


def test_nothing_sound_is_status_1(server: Server, questions: str, tmp_path: Path) -> None:
    server.script = lambda data, number: Say("no")
    assert run(questions, str(tmp_path / "mine.jsonl"), "--retries", "0") == 1


def test_own_prompts_are_sent(server: Server, questions: str, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "system.txt").write_text("Be brief.")
    (folder / "question.txt").write_text("Gold: {answer}\n{data}")
    (folder / "examples.jsonl").write_text("")
    assert run(questions, str(tmp_path / "mine.jsonl"), "--prompts", str(folder), "--first", "1") == 0
    system, user = server.bodies[0]["messages"]
    assert system["content"] == "Be brief."
    assert user["content"].startswith("Gold: B\n")


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("mine.txt", [], "mine.txt: expected a name that ends in .jsonl"),
        ("no/mine.jsonl", [], "make it first"),
        ("questions.jsonl", [], "questions.jsonl exists, but no questions.journal.jsonl beside it"),
        ("mine.jsonl", ["--prompts", "nowhere"], "nowhere: ['system.txt', 'question.txt', 'examples.jsonl'] missing"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_asked(
    questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, more: list[str], message: str
) -> None:
    assert run(questions, str(tmp_path / target), *more) == 2
    assert message in capsys.readouterr().err


def test_a_missing_openai_names_the_extra(
    questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "find_spec", lambda name: None)
    assert run(questions, str(tmp_path / "mine.jsonl")) == 2
    assert "the teacher needs the package openai: pip install 'litestage[teacher]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--samples", "0"], ["--retries", "-1"], ["--concurrency", "x"]])
def test_wrong_numbers_are_refused(questions: str, tmp_path: Path, arguments: list[str]) -> None:
    assert run(questions, str(tmp_path / "mine.jsonl"), *arguments) == 2

"""The teacher against a real model behind a real server, over loopback.

LITESTAGE_TEACHER_URL names a server that runs already, such as http://127.0.0.1:8000/v1, and LITESTAGE_TEACHER_MODEL
its model. Without an address `transformers serve` is started, with that model or the one that `make smollm2` fetches.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from litestage.text.rationales.__main__ import main as rationales_main
from litestage.text.teacher.__main__ import main

QUESTIONS = [
    ("t1", "Which of these floats on water?", {"A": "a nail", "B": "a wooden log"}, "B", "train"),
    ("t2", "What gives us light by day?", {"A": "the sun", "B": "a stone", "C": "a shoe"}, "A", "train"),
    ("v", "Which one flies?", {"A": "a bird", "B": "a fish"}, "A", "validation"),
    ("t", "Which one is hot?", {"A": "ice", "B": "fire"}, "B", "test"),
]
SMOLLM2 = Path(__file__).resolve().parents[3] / "checkpoints" / "base" / "SmolLM2-135M-Instruct"
START_SECONDS = 180


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    """Address and model."""
    given, model = os.environ.get("LITESTAGE_TEACHER_URL"), os.environ.get("LITESTAGE_TEACHER_MODEL", str(SMOLLM2))
    if given:
        yield given, model
        return
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        pytest.skip(f"no LITESTAGE_TEACHER_URL, and `transformers serve` needs: pip install {' '.join(missing)}")
    if not Path(model).is_dir():
        pytest.skip(f"no LITESTAGE_TEACHER_URL, and no model in {model}: make smollm2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with subprocess.Popen([*serve, "--device", "cpu"]) as process:
        try:
            wait(port, process)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            process.kill()


def wait(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server listens; fails when it ends or takes too long."""
    for _ in range(START_SECONDS):
        assert process.poll() is None, f"the server ended with status {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(1)
        else:
            return
    pytest.fail(f"the server did not listen within {START_SECONDS} s")


@pytest.mark.slow
def test_a_real_model_is_asked_and_never_twice(
    served: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", served[0])
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names = ("id", "question", "options", "answer", "split")
    asked, target = tmp_path / "questions.jsonl", tmp_path / "mine.jsonl"
    asked.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in QUESTIONS))
    command = [str(asked), str(target), "--model", served[1], "--samples", "1", "--retries", "1", "--max-tokens", "64"]

    def run() -> dict[str, str]:
        """The report's lines by their names."""
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--concurrency", "1", "--timeout", "1800", "--tries", "0"])
        shown = capsys.readouterr()
        assert stopped.value.code in (0, 1), shown.err
        return dict(line.split(": ", 1) for line in shown.out.splitlines())

    first = run()
    replies = sum(int(first[name]) for name in ("agreed", "disagreed", "malformed", "cut off"))
    assert 2 <= replies <= 4
    assert first["asked"] == f"{replies} ({replies} in this run)"
    prompts, written = (int(part.split()[1]) for part in first["tokens"].split(", "))
    assert prompts > 100 * replies, "the server counts the prompts' tokens"
    assert written > 0
    assert len((tmp_path / "mine.journal.jsonl").read_text().splitlines()) == 1 + replies
    if target.read_text():
        with pytest.raises(SystemExit) as stopped:
            rationales_main(["check", str(target), "--questions", str(asked)])
        assert stopped.value.code == 0, capsys.readouterr().out
    capsys.readouterr()
    assert run()["asked"] == f"{replies} (0 in this run)"

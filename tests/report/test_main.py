"""`python -m litestage.report`: the page again from the files, errors as messages."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from litestage.report import __main__ as command
from litestage.report import page


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_plotly", lambda: "packed")


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err


def test_it_writes_the_page_and_says_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([str(folder), str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert "miniworld (other)" in (folder / "report.html").read_text()


def test_it_runs_as_a_module(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(folder)])
    monkeypatch.delitem(sys.modules, "litestage.report.__main__")
    runpy.run_module("litestage.report", run_name="__main__")
    assert (folder / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out


def test_bad_input_ends_with_a_message(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    message = _fails(capsys, str(empty))
    assert message.startswith("error: ")
    assert "results.json" in message
    assert "python evaluate.py" in message
    assert "empty" in _fails(capsys, str(folder), str(empty))
    (empty / "results.json").write_text(json.dumps({"format": "litestage-results", "version": 99}))
    message = _fails(capsys, str(empty))
    assert f"{empty / 'results.json'}: results: $.version: is 99; allowed: 1" in message
    assert "Run `python evaluate.py` again" in message
    assert f"{empty / 'nowhere'}: no such folder" in _fails(capsys, str(empty / "nowhere"))
    (empty / "results.json").write_text("{")
    assert "results.json: line 1: not JSON" in _fails(capsys, str(empty))
    assert "usage" in _fails(capsys)

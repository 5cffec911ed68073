"""The environment block is complete and holds nothing private."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from litestage.report.environment import command_line, environment, git_commit
from litestage.report.schema import validate


def test_block_fits_the_results_format(results: dict[str, Any]) -> None:
    results["environment"] = environment("cpu", "float32")
    validate(results, "results")
    assert results["environment"]["device"] == "cpu"
    assert results["environment"]["dtype"] == "float32"


def test_no_host_user_variable_or_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("socket.gethostname", "platform.node", "getpass.getuser"):
        monkeypatch.setattr(place, lambda: "private-name")
    monkeypatch.setenv("WANDB_API_KEY", "private-name")
    monkeypatch.setattr(sys, "argv", ["/home/private-name/evaluate.py", "--config", "/srv/private-name/a.yaml"])
    block = environment("cpu", "float32")
    assert block["command"] == "evaluate.py --config a.yaml"
    text = json.dumps(block)
    assert "private-name" not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert not [value for value in block.values() if str(value).startswith("/")]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["train.py"], "train.py"),
        (["/a/b/train.py", "--config=/x/y z/c.yaml"], "train.py --config=c.yaml"),
        (["t.py", "--data", "[/a/b.json,/c/d.json]"], "t.py --data '[b.json,d.json]'"),
        (["t.py", "--config", "configs/a.yaml", "../b"], "t.py --config configs/a.yaml ../b"),
        (["t.py", "--path", r"C:\Users\me\x.yaml"], "t.py --path x.yaml"),
        (["t.py", "--out", "~/runs/a"], "t.py --out a"),
        (["t.py", "--teacher.url", "http://gpu7.lan:8000/v1"], "t.py --teacher.url http://..."),
        (["t.py", "--model.base", "org/repo@0123abc"], "t.py --model.base org/repo@0123abc"),
        (["t.py", "--max_new_tokens", "20", "--seed=1"], "t.py --max_new_tokens 20 --seed=1"),
        (["t.py", "--seed", "1", "--teacher.api_key", "abc", "--x", "2"], "t.py --seed 1 --teacher.api_key ..."),
        (["t.py", "--api-key=abc", "more"], "t.py --api-key= ..."),
        (["t.py", "HF_TOKEN=abc"], "t.py HF_TOKEN= ..."),
        (["t.py", "--password", "a b"], "t.py --password ..."),
        (["t.py", "--x", "hf_abcdefghijklmnop"], "t.py --x ..."),
        (["t.py", "--x=sk-abcdefghijklmnop", "--y", "1"], "t.py ..."),
        (["t.py", "0123456789abcdef0123456789abcdef01234567"], "t.py ..."),
        ([], ""),
    ],
)
def test_command_line_is_safe_to_publish(argv: list[str], expected: str) -> None:
    assert command_line(argv) == expected


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_git_commit_only_of_the_checkout_that_tracks_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    package, foreign = tmp_path / "package", tmp_path / "installed"
    for folder in (package, foreign):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(package) is None
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "package")
    assert git_commit(package) is None
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_commit(package) == commit
    assert git_commit(foreign) is None
    (package / "__init__.py").write_text("changed = 1\n")
    assert git_commit(package) == f"{commit}-dirty"


def test_git_commit_is_none_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None

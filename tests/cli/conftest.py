"""Running a step once more on a copy of the finished run, or watching it fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litestage.cli import searching

DEFAULT = Path(__file__).resolve().parents[2] / "configs" / "miniworld.yaml"
Step = Callable[..., dict[str, Any] | None]


@pytest.fixture
def again(done: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a step once more, on the copied run; returns its summary."""
    monkeypatch.setattr(searching, "draw_all", lambda _: [])  # slow, and tested elsewhere

    def run(step: Step, *arguments: str) -> dict[str, Any]:
        summary = step(["--config", str(done.config), "--root", str(tmp_path), *arguments], default=DEFAULT)
        assert summary is not None
        return summary

    return run


@pytest.fixture
def fails(done: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a step that must end with status 2; returns its message."""

    def run(step: Step, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            step(["--config", str(done.config), "--root", str(tmp_path), *arguments], default=DEFAULT)
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    return run

"""What the three scripts have in common: summaries, messages, the embedded default."""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from litestage import cli
from litestage.cli.common import command
from litestage.report.schema import read

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "configs" / "miniworld.yaml"


def test_all_files_are_there_and_valid(done: SimpleNamespace) -> None:
    for name in ("results", "importance", "search"):
        read(done.folder / f"{name}.json", name)
    read(done.folder / "plan" / "plan.json", "plan")
    for path in ("best.ckpt", "last.ckpt", "config.yaml", "model/model.safetensors", "plan/README.md", "search.jsonl"):
        assert (done.folder / path).is_file(), path
    assert not list(done.folder.rglob("*.pkl"))


@pytest.mark.parametrize("step", ["train", "search", "evaluate"])
def test_the_last_line_is_the_json_summary(done: SimpleNamespace, step: str) -> None:
    summary = done.summary[step]
    assert summary == done.returned[step]
    assert (summary["step"], summary["folder"]) == (step, str(done.folder))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--search.epss=1"], "search.eps"),
        (["--data.train_size=10000000"], "10000000"),
        (["--ckpt_path=last"], "last.ckpt"),
        (["--trainer.max_steps=-5"], "max_steps"),  # what Lightning refuses
    ],
)
def test_bad_input_ends_with_its_message(fails: Callable[..., str], arguments: list[str], part: str) -> None:
    assert part in fails(cli.train, *arguments)


def test_an_error_of_our_own_is_not_taken_for_bad_input() -> None:
    @command
    def step(_: object) -> dict[str, object]:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        step([], default=DEFAULT)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"root_{name}", ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # importing runs nothing
    return module


@pytest.mark.parametrize("name", ["train", "search", "evaluate"])
def test_the_scripts_hold_the_embedded_default(name: str) -> None:
    module = script(name)
    assert module.DEFAULT == DEFAULT
    assert getattr(module, name) is getattr(cli, name)


def test_a_bare_script_uses_the_embedded_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder, too: the run it misses is the default's, under the root of where it was called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["search.py"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "search.py"), run_name="__main__")
    assert stopped.value.code == 2
    run = yaml.safe_load(DEFAULT.read_text())["run"]
    assert f"checkpoints/{run}" in capsys.readouterr().err

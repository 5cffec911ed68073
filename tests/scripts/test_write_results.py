"""Committed tables are those of the runs' files; a finished run is taken in without what is large or private."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "write_results.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_results", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository with a README that lists its runs, and no run yet."""
    (tmp_path / "house" / "docs" / "results").mkdir(parents=True)
    text = "# House\n\n<!-- results: overview -->\n<!-- end of results -->\n\nBye.\n"
    (tmp_path / "house" / "README.md").write_text(text)
    return tmp_path / "house"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run, with weights, answers and logs."""
    folder = tmp_path / "mine"
    kept = shutil.ignore_patterns("figures", "experiments")
    shutil.copytree(ROOT / "docs" / "results" / "miniworld", folder, ignore=kept)
    (folder / "README.md").unlink()
    settings = {"run": "mine", "data": {"source": "/home/me/obqa", "rationales": ["~/a.jsonl", "docs/b.jsonl"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for name in ("model/model.safetensors", "wandb/run/log", "answers.jsonl", "search.jsonl", "last.ckpt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("large or private")
    return folder


@pytest.fixture
def pages(script: ModuleType, house: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The script on the house, where drawing is a written file."""

    def draw(folder: Path, unread: object) -> None:
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / "search.png").write_bytes(b"png")

    monkeypatch.setattr(script, "draw_all", draw)
    return lambda *arguments: script.main(arguments, house)


def test_the_committed_tables_are_fresh(script: ModuleType) -> None:
    old = [str(page.relative_to(ROOT)) for page in script.stale(ROOT)]
    assert old == [], f"run `{script.COMMAND}`"


def test_the_figures_that_pages_show_are_there() -> None:
    folders = [path.parent for path in (ROOT / "docs" / "results").glob("*/results.json")]
    assert folders
    for folder in folders:
        assert f"full-table {folder.name} -->" in (folder / "README.md").read_text()
        shown = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("![")]
        assert [line for line in shown if not (folder / line.partition("(")[2].rstrip(")")).is_file()] == []


def test_a_run_is_taken_in_without_what_is_large_or_private(
    pages: Callable[..., None], house: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "figures").mkdir()
    (run / "figures" / "budgets.png").write_bytes(b"png")
    (run / "experiments").mkdir()
    for name in ("exit.json", "exit.png", "exit.csv"):
        (run / "experiments" / name).write_bytes(b"{}")
    pages("--add", str(run))
    new = house / "docs" / "results" / "mine"
    copied = {str(path.relative_to(new)) for path in new.rglob("*") if path.is_file()}
    assert copied == {
        "README.md", "config.yaml", "results.json", "search.json", "importance.json", "plan/plan.json",
        "plan/README.md", "figures/budgets.png", "figures/search.png",
        "experiments/exit.json", "experiments/exit.png",
    }  # fmt: skip
    settings = yaml.safe_load((new / "config.yaml").read_text())
    assert settings == {"run": "mine", "data": {"source": "obqa", "rationales": ["a.jsonl", "docs/b.jsonl"]}}
    assert "| litestage | 93.2 ± 1.3 | 94.2 |" in (new / "README.md").read_text()
    assert "![budgets](figures/budgets.png)" in (new / "README.md").read_text()
    assert "(docs/results/mine/README.md) | tiny (miniworld) |" in (house / "README.md").read_text()
    assert capsys.readouterr().out.splitlines()[1:] == ["README.md", "docs/results/mine/README.md"]


def test_a_run_taken_in_again_keeps_its_page(pages: Callable[..., None], house: Path, run: Path) -> None:
    pages("--add", str(run))
    page = house / "docs" / "results" / "mine" / "README.md"
    page.write_text(page.read_text() + "\nWhat it says.\n")
    results = json.loads((run / "results.json").read_text())
    results["methods"][2]["accuracy"] = 0.5
    (run / "results.json").write_text(json.dumps(results))
    pages("--add", str(run))
    assert "What it says." in page.read_text()
    assert "| litestage | 50.0 ± 1.3 |" in page.read_text()


def test_a_stale_page_is_named_with_the_command(
    pages: Callable[..., None], house: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages("--add", str(run))
    pages("--check")
    (house / "README.md").write_text((house / "README.md").read_text().replace("93.2", "99.9"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        pages("--check")
    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["README.md"]
    assert "python scripts/write_results.py" in shown.err
    assert "99.9" in (house / "README.md").read_text()


def test_an_unfinished_run_is_refused(
    pages: Callable[..., None], house: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "results.json").unlink()
    with pytest.raises(SystemExit) as stopped:
        pages("--add", str(run))
    assert stopped.value.code == 2
    assert "results.json is not there; run `python evaluate.py`" in capsys.readouterr().err
    assert list((house / "docs" / "results").iterdir()) == []


def test_an_old_search_costs_its_figure_only(
    script: ModuleType, house: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = script.add(run, house)
    (new / "search.json").write_text(json.dumps({"format": "litestage-search", "version": 1}))
    for name in ("draw_accuracy", "draw_importance", "draw_budgets"):  # slow, and tested elsewhere
        monkeypatch.setattr(f"litestage.report.figures.{name}", lambda document, path: path)
    assert house / "README.md" in script.write(house)
    said = capsys.readouterr().err
    assert "figures stay as they are: no search.png: " in said
    assert "$.version: is 1; allowed: 2" in said

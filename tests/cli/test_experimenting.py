"""`evaluate.py --evaluate.experiment`: files, page, W&B, and what is said when something is missing."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage import cli
from litestage.cli import experimenting
from litestage.cli.experimenting import write_table
from litestage.config.judging import EXPERIMENTS
from litestage.experiments import KNOWN
from litestage.report import page
from litestage.report.schema import read

Again = Callable[..., dict[str, Any]]
LESS = ("--evaluate.attempts=1", "--evaluate.repeats=1", "--search.max_budget=2")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_plotly", lambda: "packed")  # packing it takes a second


def test_all_of_them_leave_files_a_page_and_their_tables_in_wandb(
    copied: Path, again: Again, stored: Callable[[Path], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    results = (copied / "results.json").read_bytes()
    summary = again(cli.evaluate, "--evaluate.experiment=all", "--tracking.wandb=offline", *LESS)
    assert list(summary["experiments"]) == list(EXPERIMENTS)
    assert summary["left_out"] == {}
    text = (copied / "report.html").read_text()
    for name in EXPERIMENTS:
        document = read(copied / "experiments" / f"{name}.json", "experiment")
        with (copied / "experiments" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [list(row) for row in rows[:1]] == [[column["name"] for column in document["columns"]]]
        assert len(rows) == len(document["rows"])
        assert (copied / "experiments" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"<h3>{document['title']}</h3>" in text
    assert (copied / "results.json").read_bytes() == results
    records = stored(copied / "wandb")
    keys = {item.key or item.nested_key[0] for record in records for item in record.history.item}
    assert {f"experiments/{name}" for name in EXPERIMENTS} <= keys
    assert {f"figures/{name}" for name in EXPERIMENTS} <= keys
    (run,) = {(r.run.run_group, r.run.job_type) for r in records if r.WhichOneof("record_type") == "run"}
    assert run == ("mini", "experiments")
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == summary
    assert "Budgets that the search chooses" in said.err


def test_of_all_those_whose_files_are_missing_are_left_out(
    copied: Path, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experimenting, "KNOWN", {name: KNOWN[name] for name in ("importance", "dynamics")})
    shutil.rmtree(copied / "metrics")
    (copied / "results.json").write_text(json.dumps({"format": "litestage-results", "version": 0}))
    with pytest.warns(UserWarning, match="without the experiment dynamics: ") as warned:
        summary = again(cli.evaluate, "--evaluate.experiment=all")
    assert list(summary["experiments"]) == ["importance"]
    assert "run `python train.py`" in summary["left_out"]["dynamics"]
    messages = [str(warning.message) for warning in warned]
    assert any(m.startswith("no page: ") and "Run `python evaluate.py` again" in m for m in messages)


def test_one_alone_fails_with_its_reason(copied: Path, fails: Callable[..., str]) -> None:
    shutil.rmtree(copied / "plan")
    message = fails(cli.evaluate, "--evaluate.experiment=exit")
    assert "no plan here; run search.py to make one" in message
    assert not (copied / "experiments").exists()


def test_an_unknown_name_is_answered_with_the_known_ones(copied: Path, fails: Callable[..., str]) -> None:
    message = fails(cli.evaluate, "--evaluate.experiment=fig5")
    assert "'fig5'" in message
    assert ", ".join(EXPERIMENTS) in message


def test_a_missing_value_is_an_empty_cell(tmp_path: Path) -> None:
    document = {"columns": [{"name": "a"}, {"name": "b"}], "rows": [{"a": None, "b": 'two, "quoted"'}]}
    assert write_table(document, tmp_path / "t.csv").read_text() == 'a,b\n,"two, ""quoted"""\n'

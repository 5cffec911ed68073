"""W&B: offline files under the run's folder, closed whatever happens, and no key anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb
from matplotlib.image import imsave

from litestage.config import Experiment, TrackingSettings
from litestage.lit.tracking import log_figures, log_folder, log_page, log_table, log_values, tracked
from litestage.report.style import new_figure, save

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return replace(experiment, root=str(tmp_path), tracking=TrackingSettings(wandb="offline"))


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_offline_run_lies_under_the_run_folder_without_secrets(offline: Experiment, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.mkdir()
    (plan / "plan.json").write_text("{}")
    with tracked(offline, "search") as logger:
        assert logger is not None
        log_values(logger, {"accuracy": 0.5})
        log_table(logger, "search/profile", ["stage", "budget"], [["recall", 2], ["analyze", 4]])
        log_folder(logger, "tests-plan", "plan", plan)
        run = logger.experiment
        assert (run.name, run.group, run.job_type) == ("tests-search", "tests", "search")
        assert run.config["data"]["batch_size"] == offline.data.batch_size
    assert wandb.run is None
    folder = tmp_path / "tests" / "wandb"
    files = written(folder)
    assert any(path.suffix == ".wandb" for path in files)
    assert any("profile" in path.name for path in files)
    assert not list(Path.cwd().glob(f"wandb/*{run.id}*"))
    assert [path for path in written(tmp_path) if KEY.encode() in path.read_bytes()] == []


def test_the_page_and_figures_of_a_run_are_kept_as_they_are(offline: Experiment, tmp_path: Path) -> None:
    page, figure = tmp_path / "report.html", tmp_path / "budgets.png"
    page.write_text("<!doctype html><title>a run</title>")
    imsave(figure, [[0.0, 1.0]])
    with tracked(offline, "evaluate") as logger:
        log_figures(logger, [figure])
        log_page(logger, "report", page)
    wandb.teardown()  # its service may still be writing the log
    files = written(tmp_path / "tests" / "wandb")
    assert [path.read_bytes() for path in files if path.suffix == ".html"] == [page.read_bytes()]
    assert [path.read_bytes() for path in files if path.suffix == ".png"] == [figure.read_bytes()]
    log = next(path for path in files if path.suffix == ".wandb").read_bytes()
    assert b"html-file" in log  # the run's history knows it as a page
    assert b"figures/budgets" in log


def test_what_the_client_stored_can_be_read_back(
    offline: Experiment, tmp_path: Path, stored: Callable[[Path], list[Any]]
) -> None:
    picture = save(new_figure(1, 1), tmp_path / "drawn.png")
    for job in ("search", "evaluate"):
        with tracked(offline, job) as logger:
            log_values(logger, {"search/accuracy": 0.5})
            log_table(logger, "search/profile", ["stage", "budget"], [["recall", 2]])
            log_figures(logger, [picture])
    records = stored(tmp_path)
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.run_group for run in runs} == {"tests"}
    assert {run.job_type for run in runs} == {"search", "evaluate"}
    assert len({run.run_id for run in runs}) == 2
    logged: dict[str, Any] = {}
    for record in records:
        for item in record.history.item:
            name, *inside = item.nested_key or [item.key]
            value = json.loads(item.value_json)
            logged[name] = {**logged.get(name, {}), ".".join(inside): value} if inside else value
    assert logged["search/accuracy"] == 0.5
    assert (logged["search/profile"]["ncols"], logged["search/profile"]["nrows"]) == (2, 1)
    assert (logged["figures/drawn"]["_type"], logged["figures/drawn"]["format"]) == ("image-file", "png")
    kept = [json.loads(path.read_text()) for path in written(tmp_path) if path.name.endswith(".table.json")]
    assert kept == 2 * [{"columns": ["stage", "budget"], "data": [["recall", 2]]}]


def test_nothing_is_left_open_after_an_exception(offline: Experiment, tmp_path: Path) -> None:
    failed: list[str] = []

    def fail() -> None:
        with tracked(offline, "train") as logger:
            log_values(logger, {"step": 1})
            assert wandb.run is not None
            failed.append(wandb.run.id)
            raise RuntimeError("the work failed")

    with pytest.raises(RuntimeError, match="the work failed"):
        fail()
    assert wandb.run is None
    with tracked(offline, "train") as logger:  # the next one opens as if nothing had been
        assert logger is not None
        assert logger.experiment.id != failed[0]
    assert wandb.run is None
    assert sum(path.suffix == ".wandb" for path in written(tmp_path / "tests" / "wandb")) == 2


def test_disabled_yields_none_and_writes_nothing(
    experiment: Experiment, tmp_path: Path, change: Callable[..., Experiment]
) -> None:
    off = replace(experiment, root=str(tmp_path))
    assert off.tracking.wandb == "disabled"
    with tracked(off, "train") as logger:
        assert logger is None
        log_values(logger, {"a": 1})
        log_table(logger, "t", ["a"], [[1]])
        log_figures(logger, [tmp_path / "none.png"])
        log_folder(logger, "n", "plan", tmp_path)
        log_page(logger, "report", tmp_path / "none.html")
    assert list(tmp_path.iterdir()) == []

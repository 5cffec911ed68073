"""What training left, as tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.experiments import Bench, Result
from litestage.experiments.trained import dynamics

HEAD = "epoch,step,train/loss_recall,train/loss_analyze,train/loss_summarize,val/accuracy\n"
Picked = Callable[..., list[dict[str, Any]]]


def test_importance_lists_every_sublayer_with_its_rank(
    bench: Bench, made: Callable[[str], Result], picked: Picked
) -> None:
    result = made("importance")
    for stage, values in bench.importance.stages.items():
        rows = picked(result, stage=stage)
        assert [row["similarity"] for row in rows] == list(values)
        assert [row["kind"] for row in rows] == ["attention", "feed-forward"] * 2
        assert [row["block"] for row in rows] == [0, 0, 1, 1]
        by_rank = sorted(rows, key=lambda row: row["rank"])
        assert [row["similarity"] for row in by_rank] == sorted(values, reverse=True)


def test_dynamics_reads_the_losses_that_were_logged(bench: Bench, made: Callable[[str], Result]) -> None:
    rows = made("dynamics").rows
    assert {row["stage"] for row in rows if row["loss_nats"] is not None} >= {"recall", "analyze", "summarize"}


def test_the_newest_training_is_shown(copied: Path, opened: Callable[..., Bench], picked: Picked) -> None:
    for number, loss in (("9", "7.5"), ("10", "2.5")):
        folder = copied / "metrics" / f"version_{number}"
        folder.mkdir()
        (folder / "metrics.csv").write_text(f"{HEAD}0,4,{loss},,,\n0,9,,1.5,,\n0,9,,,,0.25\n")
    result = dynamics(opened())
    assert [(row["stage"], row["step"], row["loss_nats"]) for row in result.rows] == [
        ("recall", 4, 2.5), ("analyze", 9, 1.5), ("all stages", 9, None),
    ]  # fmt: skip
    (accuracy,) = picked(result, stage="all stages")
    assert accuracy["accuracy_percent"] == 25
    assert accuracy["accuracy_stderr"] == pytest.approx(100 * (0.25 * 0.75 / 16) ** 0.5)
    assert "metrics/version_10/metrics.csv" in result.notes[0]
    assert len(result.panels) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,4,lots,,,", r"metrics\.csv: line 2: train/loss_recall is 'lots' at step '4'; both must be numbers"),
        ("0,,1.5,,,", r"metrics\.csv: line 2: train/loss_recall is '1.5' at step ''; both must be numbers"),
        ("0,4,,,,0.5", r"metrics\.csv: no losses .*run `python train\.py` again"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    copied: Path, opened: Callable[..., Bench], line: str, message: str
) -> None:
    (copied / "metrics" / "version_9").mkdir()
    (copied / "metrics" / "version_9" / "metrics.csv").write_text(f"{HEAD}{line}\n")
    with pytest.raises(ValueError, match=message):
        dynamics(opened())

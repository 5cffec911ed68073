"""The comparison of packed and separate training runs on a small scale and says what it promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHAPE = "{blocks: 1, hidden: 32, heads: 2, ffn: 32}"
SMALL = ["--data.train_size", "6", "--data.batch_size", "2", "--model.tiny", SHAPE]


def test_both_ways_learn_the_same_and_packing_reads_less(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    import bench_training

    summary = bench_training.main(SMALL)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
    assert summary["n"] == 6
    assert summary["loss_difference"] < 1e-5
    assert summary["token_ratio"] < 0.55
    ratio = summary["packed"]["tokens_per_question"] / summary["separate"]["tokens_per_question"]
    assert summary["token_ratio"] == pytest.approx(ratio, abs=1e-3)
    for way in ("packed", "separate"):
        figures = summary[way]
        seconds = figures["tokens_per_question"] * 1000 / figures["tokens_per_second"]
        assert figures["seconds_per_1000_questions"] == pytest.approx(seconds, rel=0.05)
        assert 0 <= figures["padding_share"] < 1

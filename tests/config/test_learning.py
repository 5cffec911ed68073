"""Checks of the settings of fine-tuning, by the message they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from litestage.config import DataSettings, DropoutSettings, LoraSettings, ModelSettings
from litestage.config.learning import BENCHMARKS

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: ModelSettings(learning_rate=0.0), "model.learning_rate is 0.0; it must be above 0"),
    (lambda: ModelSettings(warmup=1.0), "model.warmup is 1.0; it is a share"),
    (lambda: ModelSettings(lora=LoraSettings()), "model.lora: adapters need a pretrained model.base, not 'tiny'"),
    (lambda: DropoutSettings(rate=1.1), "model.dropout.rate is 1.1; from 0 to 1.0 when random"),
    (lambda: DropoutSettings(rate=-0.1), "model.dropout.rate is -0.1; from 0 to 1.0 when random"),
    (
        lambda: DropoutSettings(rate=0.6, order="nested", sublayers=[1]),
        "model.dropout.rate is 0.6; from 0 to 0.5 when nested",
    ),
    (lambda: DropoutSettings(ramp=1.1), "model.dropout.ramp is 1.1; it is a share, from 0 to 1"),
    (lambda: DropoutSettings(ramp=-0.1), "model.dropout.ramp is -0.1; it is a share"),
    (lambda: DropoutSettings(order="nested"), "'nested' needs model.dropout.sublayers, the first to leave out first"),
    (lambda: DropoutSettings(order="nested", sublayers=[]), "'nested' needs model.dropout.sublayers"),
    (lambda: DropoutSettings(sublayers=[]), "model.dropout.sublayers is empty; name some, or null for all"),
    (lambda: DropoutSettings(sublayers=[3, 1, 3]), r"model.dropout.sublayers names some twice: \[3, 1, 3\]"),
    (lambda: DataSettings(batch_size=0), "data.batch_size is 0; at least 1"),
    (lambda: DataSettings(validation_size=0), "data.validation_size is 0; at least 1"),
    (lambda: DataSettings(benchmark="obqa", curriculum_steps=10), "data.curriculum_steps: obqa has no warm-up"),
    (
        lambda: DataSettings(benchmark="obqa", held_out="attributes"),
        "data.held_out is .attributes.; only mini",
    ),
    (
        lambda: DataSettings(benchmark="arc"),
        r"data.benchmark is 'arc'; one of \['miniworld', 'obqa', 'csqa', 'strategyqa'\], or a .jsonl file",
    ),
    (lambda: DataSettings(benchmark="my/questions.json"), "data.benchmark is 'my/questions.json'; one of"),
    (
        lambda: DataSettings(benchmark="my.jsonl", source="a/b"),
        "data.source is 'a/b'; your own questions have none, only a file",
    ),
    (lambda: DataSettings(rationales="my.jsonl"), "data.rationales is 'my.jsonl'; miniworld writes its own"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_setting_is_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("order", "top"), [("random", 1.0), ("nested", 0.5)])
def test_the_ends_of_the_rates_of_dropout_are_allowed(order: Any, top: float) -> None:
    assert [DropoutSettings(rate, ramp, [3, 1], order).rate for rate, ramp in ((0.0, 0.0), (top, 1.0))] == [0.0, top]


@pytest.mark.parametrize("benchmark", [*BENCHMARKS, "my.jsonl", "a folder/my.jsonl.gz"])
def test_a_benchmark_is_a_name_or_a_file(benchmark: str) -> None:
    assert DataSettings(benchmark=benchmark).source is None


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        (DataSettings(), "miniworld"),
        (DataSettings(held_out="attributes"), "miniworld (attributes held out)"),
        (DataSettings(benchmark="obqa"), "obqa"),
        (DataSettings(benchmark="private/folder/mine.jsonl"), "mine.jsonl"),
    ],
)
def test_results_call_the_benchmark_by_a_name_without_folders(settings: DataSettings, title: str) -> None:
    assert settings.title == title

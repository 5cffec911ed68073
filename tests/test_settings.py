"""One parser for all scripts: what it takes, refuses, explains and writes down."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.callbacks import EarlyStopping

from litestage.config import (
    DataSettings,
    DropoutSettings,
    EvaluateSettings,
    Experiment,
    LoraSettings,
    ModelSettings,
    ReasoningSettings,
    SearchSettings,
    StageSettings,
    TinySettings,
    TrackingSettings,
)
from litestage.settings import Given, known_keys, make_parser, parse

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "miniworld.yaml"
Parse = Callable[..., Given]


@pytest.fixture
def given(tmp_path: Path) -> Parse:
    """Parse a YAML text (and further arguments) as `--config`."""

    def parsed(text: str, *arguments: str) -> Given:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return parse(["--config", str(path), *arguments], DEFAULT)

    return parsed


def test_a_bare_run_uses_the_default_file() -> None:
    found = parse([], DEFAULT)
    written = yaml.safe_load(DEFAULT.read_text())
    assert found.experiment.run == written["run"]
    assert found.experiment.model.learning_rate == written["model"]["learning_rate"]
    assert found.trainer["max_epochs"] == written["trainer"]["max_epochs"]
    assert found.ckpt_path is None
    assert found.folder == Path(found.experiment.root) / written["run"]


def test_options_win_over_the_file() -> None:
    found = parse(["--search.eps", "0.2", "--run=mine", "--trainer.max_epochs=7", "--ckpt_path", "last"], DEFAULT)
    assert (found.experiment.search.eps, found.experiment.run) == (0.2, "mine")
    assert (found.trainer["max_epochs"], found.ckpt_path) == (7, "last")
    assert found.experiment.data.train_size == parse([], DEFAULT).experiment.data.train_size


def test_values_of_the_default_file_do_not_leak_under_a_config(given: Parse) -> None:
    found = given("run: mine\n")
    assert found.experiment == Experiment(run="mine")
    assert found.experiment != parse(["--run", "mine"], DEFAULT).experiment
    assert found.trainer["max_epochs"] == 1
    assert found.trainer["accelerator"] == "auto"


@pytest.mark.parametrize("form", ["--config=nowhere.yaml", "--config nowhere.yaml"])
def test_a_missing_file_is_named(form: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"'nowhere\.yaml' does not exist.*configs/"):
        parse(form.split(), DEFAULT)


def test_a_missing_default_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml' does not exist"):
        parse([], tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("serch: {eps: 0.1}", "serch.eps", "search.eps"),
        ("search: {epss: 0.1}", "search.epss", "search.eps"),
        ("trainer: {max_epoch: 3}", "trainer.max_epoch", "trainer.max_epochs"),
        ("model: {tiny: {block: 3}}", "model.tiny.block", "model.tiny.blocks"),
        ("model: {lora: {rnk: 3}}", "model.lora.rnk", "model.lora.rank"),
        (
            "reasoning: {stages: [{name: a, prompt: '{question}', samplde: true}]}",
            "reasoning.stages.samplde",
            "reasoning.stages.sampled",
        ),
    ],
)
def test_unknown_keys_name_the_nearest_known_ones(given: Parse, text: str, key: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown key '{re.escape(key)}'.*nearest.* {re.escape(nearest)}\b"):
        given(text)


def test_an_unknown_key_of_a_stage_names_all_there_are(given: Parse) -> None:
    with pytest.raises(
        ValueError, match=r"unknown key.*'; .*; allowed here: name, prompt, cue, target, max_new_tokens"
    ):
        given("reasoning: {stages: [{name: a, prompt: '{question}', fan_out: each}]}")


@pytest.mark.parametrize("option", ["--search.epss=0.1", "--serch.eps 0.1"])
def test_unknown_options_name_the_nearest_known_ones(option: str) -> None:
    with pytest.raises(ValueError, match=r"unknown key .*nearest.* search\.eps\b"):
        parse(option.split(), DEFAULT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search.eps", "much"], r"search\.eps.*much"),
        (["--search.eps", "2"], r"search\.eps is 2\.0"),
        (["--data.benchmark", "arc"], r"data\.benchmark is 'arc'.*miniworld.*obqa.*csqa"),
        (["--model.dtype", "int8"], r"model\.dtype.*bfloat16.*int8"),
        (["--search.exit_stages", "[think]"], r"unknown stages \['think'\].*recall"),
        (["--trainer.logger", "false"], r"unknown key 'trainer\.logger'"),
        (["surplus"], "surplus"),
    ],
)
def test_bad_values_are_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        parse(arguments, DEFAULT)


@pytest.mark.parametrize("text", ["search: [", "just words", "- a\n- list\n"])
def test_broken_files_are_refused(given: Parse, text: str) -> None:
    with pytest.raises(ValueError, match=r"[Cc]onfig"):
        given(text)


CHANGED = """
run: changed
search: {exit_threshold: null, exit_stages: [recall], max_budget: 6}
model: {base: org/model@main, lora: {rank: 3}}
reasoning:
  answer_pattern: 'is ([A-Z])\\.'
  stages:
  - {name: think, prompt: "{question}\\n{options}\\nThink:", max_new_tokens: 9}
  - {name: recall, prompt: "{question} {think}", target: " {answer}.", sampled: false}
trainer:
  max_epochs: 2
  callbacks:
  - class_path: lightning.pytorch.callbacks.EarlyStopping
    init_args: {monitor: val/accuracy, mode: max, patience: 4}
"""


@pytest.mark.parametrize("text", [CHANGED, DEFAULT.read_text(), "search: {exit_threshold: null}"])
def test_the_resolved_file_loads_back_to_the_same(given: Parse, text: str) -> None:
    first = given(text)
    again = given(first.resolved)
    assert again.experiment == first.experiment
    assert again.resolved == first.resolved
    comparable = lambda found: {k: v for k, v in found.trainer.items() if k != "callbacks"}  # noqa: E731
    assert comparable(again) == comparable(first)


def test_null_stays_null_in_the_resolved_file(given: Parse) -> None:
    """A null that was left out would load back as the default 0.5."""
    found = given(CHANGED)
    assert found.experiment.search.exit_threshold is None
    assert yaml.safe_load(found.resolved)["search"]["exit_threshold"] is None
    assert "config" not in yaml.safe_load(found.resolved)


def test_callbacks_come_by_class_path(given: Parse) -> None:
    (callback,) = given(CHANGED).trainer["callbacks"]
    assert isinstance(callback, EarlyStopping)
    assert (callback.monitor, callback.mode, callback.patience) == ("val/accuracy", "max", 4)
    (again,) = given(given(CHANGED).resolved).trainer["callbacks"]
    assert (again.monitor, again.mode, again.patience) == ("val/accuracy", "max", 4)


def groups(kind: Any = Experiment, prefix: str = "") -> list[str]:
    """Dotted keys of all fields that are no groups themselves."""
    nested = [ModelSettings, DataSettings, ReasoningSettings, SearchSettings, EvaluateSettings, TrackingSettings]
    by_name = {c.__name__: c for c in (*nested, TinySettings)}
    keys: list[str] = []
    for field in fields(kind):
        inner = by_name.get(str(field.type))
        keys += groups(inner, f"{prefix}{field.name}.") if inner else [f"{prefix}{field.name}"]
    return keys


def test_every_field_is_a_known_key() -> None:
    assert set(groups()) - set(known_keys(make_parser())) == set()
    assert "model.tiny.blocks" in groups()


def docstrings(kind: type) -> dict[str, str]:
    """Field -> the text under it, read from the source."""
    found = re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', getsource(kind), re.MULTILINE | re.DOTALL)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


@pytest.mark.parametrize(
    "kind", [Experiment, DataSettings, SearchSettings, EvaluateSettings, TrackingSettings, TinySettings]
)
def test_help_shows_the_text_under_every_field(kind: type) -> None:
    shown = re.sub(r"\s+", "", make_parser().format_help())  # lines break at blanks and hyphens
    texts = docstrings(kind)
    own = [f.name for f in fields(kind) if not is_dataclass(f.default_factory)]
    assert set(texts) == set(own) - {"model", "data", "reasoning", "search", "evaluate", "tracking"}
    assert [name for name, text in texts.items() if re.sub(r"\s+", "", text).rstrip(".") not in shown] == []


@pytest.mark.parametrize("kind", [LoraSettings, DropoutSettings, StageSettings, ModelSettings, ReasoningSettings])
def test_every_field_has_a_text(kind: type) -> None:
    assert set(docstrings(kind)) == {field.name for field in fields(kind)}


def test_help_ends_without_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--help"], DEFAULT)
    assert stopped.value.code == 0
    assert "--search.exit_threshold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "epochs"), [("accelerator: cpu", 1), ("max_steps: 5", None), ("max_time: '00:01:00:00'", None)]
)
def test_training_takes_one_epoch_where_nothing_limits_it(tmp_path: Path, limit: str, epochs: int | None) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"run: mine\ntrainer: {{{limit}}}\n")
    found = parse(["--config", str(config)], DEFAULT)
    assert found.trainer["max_epochs"] == epochs
    assert yaml.safe_load(found.resolved)["trainer"]["max_epochs"] == epochs

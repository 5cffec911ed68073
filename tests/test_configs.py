"""Every shipped configuration parses, and holds what its first line says."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from litestage.config import Experiment, ReasoningSettings
from litestage.settings import Given, parse

FOLDER = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "sweep")
SWEEP = yaml.safe_load((FOLDER / "sweep.yaml").read_text())
MODELS = {"tinyllama": "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct"}
BATCHES = {"obqa": 16, "csqa": 16, "strategyqa": 24}
PAPER = [(benchmark, model) for benchmark in BATCHES for model in MODELS]
SMALL = ["csqa_smollm2", "strategyqa_smollm2"]
SMOLLM2 = ["smollm2_miniworld", "smollm2_miniworld_hard", "smollm2_obqa", "own_smollm2", *SMALL]


def given(name: str) -> Given:
    return parse(["--config", str(FOLDER / f"{name}.yaml")], FOLDER / "miniworld.yaml")


def holds(settings: Any, key: Any, written: Any) -> bool:
    """Whether the parsed settings have what is written, group by group."""
    held = settings[key] if isinstance(settings, dict | list) else getattr(settings, key)
    if is_dataclass(held):
        return all(holds(held, *item) for item in written.items())
    if isinstance(held, list) and isinstance(written, list):
        return len(held) == len(written) and all(holds(held, *item) for item in enumerate(written))
    return held == written


def test_the_list_is_complete() -> None:
    assert {"miniworld", *(f"{benchmark}_{model}" for benchmark, model in PAPER), *SMOLLM2} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_parses_to_what_is_written(name: str) -> None:
    found = given(name)
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(found.experiment, Experiment)
    for group, keys in written.items():
        settings = found.trainer if group == "trainer" else getattr(found.experiment, group)
        for key, value in keys.items() if isinstance(keys, dict) else ():
            assert holds(settings, key, value), f"{group}.{key}"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is_for_and_when_it_ends(name: str) -> None:
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")
    found = given(name)
    assert found.trainer["max_epochs"] is not None  # Lightning's own default is 1000
    assert found.trainer["gradient_clip_val"] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_every_file_uses_one_device(name: str) -> None:
    """Answers are counted in one process."""
    trainer = given(name).trainer
    assert trainer["accelerator"] == "cpu" or trainer["devices"] == 1


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, part in SWEEP["parameters"].items() for value in part["values"]]
)
def test_every_value_of_the_sweep_reaches_the_settings(name: str, value: Any) -> None:
    """In the arguments that W&B's agent makes of it."""
    fixed = [word for word in SWEEP["command"] if not word.startswith("$")]
    fixed = [word.replace("configs", str(FOLDER)) for word in fixed]
    words = create_sweep_command_args({"args": {name: {"value": value}}})["args"]
    found = parse([*fixed, *words], FOLDER / "miniworld.yaml").experiment
    group, key = name.split(".")
    assert getattr(getattr(found, group), key) == value
    assert found.tracking.wandb == "online"


def test_the_sweep_runs_a_script_that_logs_its_metric() -> None:
    assert (FOLDER.parent / SWEEP["program"]).is_file()
    assert SWEEP["command"][-1] == "${args}"
    searching = (FOLDER.parent / "src" / "litestage" / "cli" / "searching.py").read_text()
    assert f'"{SWEEP["metric"]["name"]}"' in searching


def test_runs_do_not_share_a_folder() -> None:
    folders = [given(name).folder for name in NAMES]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize(("benchmark", "model"), PAPER)
def test_the_papers_settings(benchmark: str, model: str) -> None:
    found = given(f"{benchmark}_{model}")
    experiment = found.experiment
    assert (experiment.model.base, experiment.model.lora) == (MODELS[model], None)
    assert (experiment.model.learning_rate, experiment.model.warmup) == (5e-5, 0.1)
    assert (experiment.data.benchmark, experiment.data.source) == (benchmark, None)
    assert (experiment.data.train_size, experiment.data.validation_size, experiment.data.test_size) == (None,) * 3
    assert (experiment.data.batch_size, experiment.data.stream) == (BATCHES[benchmark], "interleaved")
    assert experiment.data.interleave_steps == 100
    assert found.trainer["max_epochs"] == 10
    assert experiment.reasoning == ReasoningSettings(batch_size=experiment.reasoning.batch_size)
    assert [stage.max_new_tokens for stage in experiment.reasoning.stages] == [200, 200, 200]
    assert experiment.reasoning.temperature == 0.7
    assert (experiment.search.eps, experiment.search.step) == (0.01, 1)
    assert (experiment.search.exit_window, experiment.search.exit_threshold) == (5, 0.5)
    assert experiment.evaluate.attempts == 10


def test_the_default_needs_neither_network_nor_accelerator() -> None:
    found = given("miniworld")
    assert (found.experiment.model.base, found.experiment.data.benchmark) == ("tiny", "miniworld")
    assert found.trainer["accelerator"] == "cpu"
    assert found.experiment.tracking.wandb == "offline"


@pytest.mark.parametrize("name", SMOLLM2)
def test_smollm2_lies_where_its_script_puts_it(name: str) -> None:
    assert given(name).experiment.model.base == "checkpoints/base/SmolLM2-135M-Instruct"


@pytest.mark.parametrize("name", SMALL)
def test_small_runs_are_sized_for_a_cpu(name: str) -> None:
    data = given(name).experiment.data
    assert (data.train_size, data.validation_size, data.test_size) == (800, 100, 100)
    assert name.startswith(data.benchmark)


def test_own_questions_begin_with_files_that_are_there() -> None:
    data = given("own_smollm2").experiment.data
    assert all((FOLDER.parent / str(path)).is_file() for path in (data.benchmark, data.rationales))

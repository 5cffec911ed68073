"""Train, search and evaluate a tiny experiment; then everything that may go wrong between them."""

from __future__ import annotations

import importlib.util
import io
import json
import runpy
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from litestage import cli
from litestage.lit.evaluation import BASELINE, CONTROL
from litestage.model.importance import Importance
from litestage.plan import Plan
from litestage.report.schema import read
from litestage.settings import parse

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "configs" / "miniworld.yaml"
CONFIG = """
run: mini
model: {tiny: {blocks: 2, hidden: 32, heads: 2, ffn: 48, vocabulary: 300}, learning_rate: 3.0e-3}
data: {train_size: 16, validation_size: 6, test_size: 6, batch_size: 8, curriculum_steps: 1}
reasoning:
  batch_size: 4
  stages:
  - {name: recall, prompt: "{question}\\n{options}\\nRecall:", max_new_tokens: 6}
  - {name: analyze, prompt: "{question}\\nRecall: {recall}\\nAnalyze: {cue}", cue: "For {label},", max_new_tokens: 6}
  - {name: summarize, prompt: "{question}\\n{analyze}\\nSummarize:", target: " {answer}.", max_new_tokens: 6}
search: {importance_questions: 3, step: 2}
evaluate: {attempts: 2, repeats: 2, timed_questions: 4}
tracking: {wandb: disabled}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


@dataclass
class Done:
    """A finished run: where it lies, and what each script printed."""

    config: Path
    folder: Path
    stdout: dict[str, str] = field(default_factory=dict)
    returned: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def summary(self, step: str) -> dict[str, Any]:
        return json.loads(self.stdout[step].splitlines()[-1])


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("runs")
    config = root / "mini.yaml"
    config.write_text(CONFIG)
    made = Done(config, root / "mini")
    for step in (cli.train, cli.search, cli.evaluate):
        name, out = step.__name__, io.StringIO()
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            made.returned[name] = step(["--config", str(config), "--root", str(root)], default=DEFAULT)
        made.stdout[name] = out.getvalue()
    return made


@pytest.fixture
def copied(done: Done, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(done.folder, tmp_path / "mini")
    return tmp_path / "mini"


Fail = Callable[..., str]


@pytest.fixture
def fails(done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a step that must end with status 2; returns its message."""

    def run(step: cli.Command, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            step(["--config", str(done.config), "--root", str(tmp_path), *arguments], default=DEFAULT)
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    return run


def test_all_files_are_there_and_valid(done: Done) -> None:
    for name in ("results", "importance", "search"):
        read(done.folder / f"{name}.json", name)
    read(done.folder / "plan" / "plan.json", "plan")
    for path in ("best.ckpt", "last.ckpt", "config.yaml", "model/model.safetensors", "plan/README.md"):
        assert (done.folder / path).is_file(), path
    assert not list(done.folder.rglob("*.pkl"))


@pytest.mark.parametrize("step", ["train", "search", "evaluate"])
def test_the_last_line_is_the_json_summary(done: Done, step: str) -> None:
    summary = done.summary(step)
    assert summary == done.returned[step]
    assert (summary["step"], summary["folder"]) == (step, str(done.folder))


def test_the_resolved_configuration_loads_back(done: Done) -> None:
    again = parse(["--config", str(done.folder / "config.yaml")], DEFAULT)
    assert again.folder == done.folder
    written = parse(["--config", str(done.config), "--root", str(done.folder.parent)], DEFAULT)
    assert again.experiment == written.experiment


def test_the_plan_is_for_this_model_and_says_where_it_comes_from(done: Done) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    plan.check("tiny (mini)", 4, ["recall", "analyze", "summarize"])
    assert plan.budgets == done.summary("search")["budgets"]
    assert plan.provenance["method"] == "litestage"
    assert plan.provenance["questions"] == 6
    assert plan.provenance["target"] == pytest.approx(plan.provenance["full_depth_accuracy"] - 0.01)


def test_the_search_tried_every_budget_of_every_stage(done: Done) -> None:
    document = read(done.folder / "search.json", "search")
    for stage in ("recall", "analyze", "summarize"):
        assert [t["budget"] for t in document["trials"] if t["stage"] == stage] == [0, 2, 4]
    assert document["cost_model"]["rows"][-1] == 4 * 4  # questions together x options


def test_the_results_compare_all_methods(done: Done) -> None:
    results = read(done.folder / "results.json", "results")
    names = [BASELINE, CONTROL, "litestage", "litestage without exit", "adaskip"]
    assert [method["name"] for method in results["methods"]] == names
    plan = Plan.from_pretrained(done.folder / "plan")
    budgets = {method["name"]: method["budgets"] for method in results["methods"]}
    assert budgets["litestage"] == budgets["litestage without exit"] == plan.budgets
    assert set(budgets["adaskip"].values()) == {round(2 * plan.mean_full_layers)}
    assert {method["n"] for method in results["methods"]} == {6}
    assert results["timing"]["questions"] == 4
    assert set(names) <= set(done.summary("evaluate"))


def test_importance_is_of_the_questions_asked_for(done: Done) -> None:
    importance = Importance.from_json(read(done.folder / "importance.json", "importance"))
    assert (importance.model, importance.questions, len(importance.order)) == ("tiny (mini)", 3, 4)


def test_search_by_the_clock_leaves_a_valid_profile(
    done: Done, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "draw_all", lambda _: [])  # slow, and tested elsewhere
    arguments = ["--config", str(done.config), "--root", str(tmp_path)]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        cli.search([*arguments, "--search.latency=seconds", "--search.max_budget=2"], default=DEFAULT)
    document = read(copied / "search.json", "search")
    assert document["cost_model"] == {}
    assert all(t["latency"] == t["measured_seconds"] for t in document["trials"])


def test_training_goes_on_from_the_last_checkpoint(done: Done, copied: Path, tmp_path: Path) -> None:
    """Both epochs are done: nothing is trained again, and the best weights are exported again."""
    model = copied / "model" / "model.safetensors"
    before = model.read_bytes()
    shutil.rmtree(copied / "model")
    arguments = ["--config", str(done.config), "--root", str(tmp_path), "--ckpt_path=last"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        cli.train(arguments, default=DEFAULT)
    assert model.read_bytes() == before


def test_search_before_train_says_what_to_run(fails: Fail) -> None:
    message = fails(cli.search)
    assert message.startswith("error: ")
    assert "train.py" in message


def test_evaluate_before_search_says_what_to_run(fails: Fail, copied: Path) -> None:
    shutil.rmtree(copied / "plan")
    assert "search.py" in fails(cli.evaluate)


def test_search_without_importance_says_what_to_run(fails: Fail, copied: Path) -> None:
    (copied / "importance.json").unlink()
    message = fails(cli.search)
    assert "importance.json" in message
    assert "python train.py" in message


def test_a_plan_for_another_model_is_refused_with_both_names_and_counts(fails: Fail, copied: Path) -> None:
    path = copied / "plan" / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "model": "other (run)", "num_sublayers": 44}))
    message = fails(cli.evaluate)
    assert "other (run) (44 sub-layers)" in message
    assert "tiny (mini) (4 sub-layers)" in message


def test_a_plan_for_earlier_weights_is_refused(fails: Fail, copied: Path) -> None:
    path = copied / "plan" / "plan.json"
    plan = json.loads(path.read_text())
    plan["provenance"]["weights"] = "0123456789ab"
    path.write_text(json.dumps(plan))
    assert "trained again since this search; run search.py again" in fails(cli.evaluate)


def test_importance_of_another_model_is_refused_with_both_names_and_counts(fails: Fail, copied: Path) -> None:
    path = copied / "importance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "other (run)"}))
    message = fails(cli.search, "--search.latency=seconds")
    assert "other (run) (4 sub-layers)" in message
    assert "tiny (mini) (4)" in message


def test_an_unwritable_folder_is_found_before_training(
    fails: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was made")

    monkeypatch.setattr(cli, "new_model", never)
    (tmp_path / "mini").write_text("a file in place of the folder")
    message = fails(cli.train)
    assert "cannot write there" in message
    assert "--root" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--search.epss=1"], "search.eps"),
        (["--data.train_size=10000000"], "10000000"),
        (["--ckpt_path=last"], "last.ckpt"),
        (["--trainer.max_steps=-5"], "max_steps"),  # what Lightning refuses
    ],
)
def test_bad_input_ends_with_its_message(fails: Fail, arguments: list[str], part: str) -> None:
    assert part in fails(cli.train, *arguments)


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

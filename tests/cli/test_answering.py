"""`python -m litestage answer`: what it prints for a finished run, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from litestage.__main__ import main
from litestage.cli.answering import asked
from litestage.config import ReasoningSettings
from litestage.model import load
from litestage.plan import ExitRule, Plan
from litestage.settings import parse

ASKED = ["--repeats", "1", "Which of these floats?", "a nail", "a log", "a sock"]
STAGES = ["recall", "analyze", "summarize"]
Answers = Callable[..., list[str]]
Refuses = Callable[..., str]


@pytest.fixture
def answers(capsys: pytest.CaptureFixture[str]) -> Answers:
    """The lines that are printed."""

    def run(*arguments: str) -> list[str]:
        main(["answer", *arguments, *ASKED])
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str]) -> Refuses:
    """The message of a command that must end with status 2."""

    def run(*arguments: str, asked: list[str] = ASKED) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["answer", *arguments, *asked])
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err.strip()

    return run


@pytest.fixture
def stages(done: SimpleNamespace, tmp_path: Path) -> Path:
    """The stages of the finished run as a file of their own."""
    reasoning: ReasoningSettings = parse(["--config", str(done.config)], None).experiment.reasoning
    rows = [dict(vars(stage)) for stage in reasoning.stages]
    path = tmp_path / "stages.yaml"
    path.write_text(json.dumps({"stages": rows, "answer_pattern": reasoning.answer_pattern}))
    return path


def changed(plan: Plan, folder: Path, **changes: object) -> str:
    """Another plan in a folder of its own."""
    return str(replace(plan, **changes).save_pretrained(folder))


def test_every_stage_is_shown_with_its_time_beside_full_depth(done: SimpleNamespace, answers: Answers) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    shown = answers("--run", str(done.folder))
    heads = [line for line in shown if re.match(r"\w+: skips", line)]
    seconds = r"[\d.e-]+ s, full depth [\d.e-]+ s \(\d+\.\d\dx\)"
    for stage, head in zip(STAGES, heads, strict=True):
        assert re.fullmatch(rf"{stage}: skips {plan.budgets[stage]} of 4 sub-layers; \d+ tokens; {seconds}", head)
    at = shown.index(heads[1])
    assert [line[:4] for line in shown[at + 1 : at + 4]] == ["  A ", "  B ", "  C "]
    assert re.fullmatch(rf"answer: A \(a nail\); {seconds}", shown[-2])  # what the model has learned to answer
    assert shown[-1] == "full depth answers the same"


def test_an_output_that_early_exit_cut_is_marked(done: SimpleNamespace, answers: Answers, tmp_path: Path) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    surely = {name: replace(stage, exit=ExitRule(1, 1.0)) for name, stage in plan.stages.items()}
    shown = answers("--run", str(done.folder), "--plan", changed(plan, tmp_path / "plan", stages=surely))
    assert sum(line.endswith("  [early exit]") for line in shown) == 1 + 3 + 1
    assert "; 1 tokens; " in shown[0]
    full = {name: replace(stage, exit=None) for name, stage in plan.stages.items()}
    whole = answers("--run", str(done.folder), "--plan", changed(plan, tmp_path / "full", stages=full))
    assert [line for line in whole if "early exit" in line] == []


def test_other_answers_of_full_depth_are_told(done: SimpleNamespace, answers: Answers, tmp_path: Path) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    cut = {**plan.stages, "summarize": replace(plan.stages["summarize"], exit=ExitRule(1, 1.0), skip=(0, 1, 2, 3))}
    shown = answers("--run", str(done.folder), "--plan", changed(plan, tmp_path / "plan", stages=cut))
    assert shown[-2].startswith("answer: none; the last stage names no option; ")
    assert shown[-1] == "full depth answers: A (a nail)"


def test_a_run_may_have_moved(answers: Answers, done: SimpleNamespace, tmp_path: Path) -> None:
    shutil.copytree(done.folder, tmp_path / "elsewhere")
    assert answers("--run", str(tmp_path / "elsewhere"))[-1] == "full depth answers the same"


def test_a_model_and_a_plan_need_no_run(
    done: SimpleNamespace, answers: Answers, stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = lambda shown: [line for line in shown if line.startswith("  ")]  # noqa: E731
    expected = texts(answers("--run", str(done.folder)))
    plan = ["--plan", str(done.folder / "plan"), "--reasoning", str(stages)]
    assert texts(answers("--model", str(done.folder / "model"), *plan)) == expected
    downloads: list[tuple[str, str | None]] = []

    def download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        downloads.append((repo, revision))
        return str(done.folder / "model")

    monkeypatch.setattr(load, "snapshot_download", download)
    assert texts(answers("--model", "org/model@v2", *plan)) == expected
    assert downloads == [("org/model", "v2")]


def test_it_is_a_command(done: SimpleNamespace) -> None:
    command = [sys.executable, "-m", "litestage", "answer", "--run", str(done.folder), *ASKED]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.splitlines()[-1] == "full depth answers the same"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["Why?", "a"], "error: 1 options; expected 2 to 26"),
        (["Why?"], "error: 0 options; expected 2 to 26"),
        (["Why?", *map(str, range(27))], "error: 27 options; expected 2 to 26"),
        (["Why?", "a", "b", " a"], "error: options ['a'] occur more than once"),
        (["Why?", "a", " "], "error: the question or an option is empty"),
        ([" ", "a", "b"], "error: the question or an option is empty"),
        (["--repeats", "0", "Why?", "a", "b"], "error: --repeats is 0; at least 1"),
    ],
)
def test_a_bad_question_is_refused(refuses: Refuses, given: list[str], message: str) -> None:
    assert refuses("--run", "nowhere", asked=given).startswith(message)


def test_options_are_lettered_up_to_z() -> None:
    question = asked(" Why? ", [f" {number}" for number in range(26)])
    assert (question.text, list(question.options)[-1], question.options["Z"]) == ("Why?", "Z", "25")


def test_what_is_missing_is_named_with_the_command_that_makes_it(refuses: Refuses, copied: Path) -> None:
    shutil.rmtree(copied / "plan")
    message = refuses("--run", str(copied))
    assert message == f"error: {copied}: no plan yet; make one: python search.py --config {copied}/config.yaml"
    shutil.rmtree(copied / "model")
    message = refuses("--run", str(copied), "--plan", str(copied))
    assert "no trained model here; run train.py" in message
    assert "config.yaml is missing; python train.py makes one" in refuses("--run", str(copied.parent))
    assert "--model needs --plan" in refuses("--model", str(copied))
    assert "--reasoning goes with --model" in refuses("--run", str(copied), "--reasoning", "stages.yaml")


def test_plans_for_something_else_are_refused(
    done: SimpleNamespace, refuses: Refuses, stages: Path, tmp_path: Path
) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    of_run = ["--run", str(done.folder), "--plan"]
    message = refuses(*of_run, changed(plan, tmp_path / "a", model="big (run)"))
    assert "the plan was made for big (run) (4 sub-layers) but the model is tiny (mini) (4 sub-layers)" in message
    message = refuses(*of_run, changed(plan, tmp_path / "b", stages={"think": plan.stages["recall"]}))
    assert "the plan has stages ['think'], the pipeline has ['analyze', 'recall', 'summarize']" in message
    of_model = ["--model", str(done.folder / "model"), "--plan"]
    message = refuses(*of_model, changed(plan, tmp_path / "c", num_sublayers=6))
    assert f"made for tiny (mini) (6 sub-layers) but the model is {done.folder / 'model'} (4 sub-layers)" in message
    message = refuses(*of_model, changed(plan, tmp_path / "d", stages={"think": plan.stages["recall"]}))
    assert "the plan has stages ['think']" in message


@pytest.mark.parametrize("option", ["--run", "--model"])
def test_a_plan_for_other_weights_is_refused(refuses: Refuses, copied: Path, option: str, stages: Path) -> None:
    model = copied / "model" / "model.safetensors"
    save_file({name: tensor + 0.01 for name, tensor in load_file(model).items()}, model, {"format": "pt"})
    was = Plan.from_pretrained(copied / "plan").provenance["weights"]
    rest = ["--plan", str(copied / "plan"), "--reasoning", str(stages)] if option == "--model" else []
    message = refuses(option, str(copied / "model" if rest else copied), *rest)
    assert f"{copied / 'plan'}: the plan was found for other weights ({was}) than these (" in message

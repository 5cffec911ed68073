"""`search.py`: the plan and its reasons, the journal it goes on from, and what it refuses."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from litestage import cli
from litestage.cli import searching
from litestage.config import SearchSettings
from litestage.plan import Plan
from litestage.report.schema import read
from litestage.search.cost import CostModel

Again = Callable[..., dict[str, Any]]
Fail = Callable[..., str]

DEFAULT = Path(__file__).resolve().parents[2] / "configs" / "miniworld.yaml"
STAGES = ["recall", "analyze", "summarize"]
TOO_FEW = "validation questions are too few"

pytestmark = pytest.mark.filterwarnings(f"ignore:.*{TOO_FEW}")


def trials(folder: Path) -> list[dict[str, Any]]:
    return read(folder / "search.json", "search")["trials"]


def recorded(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "search.jsonl").read_text().splitlines()]


def test_the_plan_is_for_this_model_and_says_where_it_comes_from(done: SimpleNamespace) -> None:
    plan = Plan.from_pretrained(done.folder / "plan")
    plan.check("tiny (mini)", 4, STAGES)
    assert plan.budgets == done.summary["search"]["budgets"]
    assert (plan.provenance["method"], plan.provenance["ranking"]) == ("litestage", "cosine")
    assert plan.provenance["questions"] == plan.provenance["confidence"]["n"] == 16
    assert plan.provenance["target"] == pytest.approx(plan.provenance["full_depth_accuracy"] - 0.01)


def test_the_search_tried_every_budget_of_every_stage(done: SimpleNamespace) -> None:
    document = read(done.folder / "search.json", "search")
    for stage in STAGES:
        assert [t["budget"] for t in document["trials"] if t["stage"] == stage] == [0, 2, 4]
    assert document["cost_model"]["rows"][-1] == 5 * 4  # questions together x options


@pytest.mark.parametrize(("off", "told"), [(0.4, False), (0.8, True)])
def test_a_disturbed_calibration_is_told(
    copied: Path, again: Again, monkeypatch: pytest.MonkeyPatch, off: float, told: bool
) -> None:
    (copied / "search.jsonl").unlink()
    known = CostModel.from_json(read(copied / "search.json", "search")["cost_model"])
    fitted = replace(known, fit={**known.fit, "decode_max_relative_error": off})
    monkeypatch.setattr(searching, "calibrate", lambda *_: fitted)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again(cli.search)
    wanted = "a decode step differs by 80 % from what the others say. Is the machine busy"
    assert any(wanted in str(warning.message) for warning in caught) == told


def test_what_cannot_win_is_given_up_before_the_last_question(
    copied: Path, again: Again, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "search.jsonl").unlink()  # of another batch size
    again(cli.search, "--reasoning.batch_size=3")  # small chunks: the last one is not all that tells budgets apart
    (gone,) = [t for t in trials(copied) if (t["stage"], t["budget"]) == ("summarize", 4)]
    assert gone["stopped"] == "accuracy"
    assert gone["answered"] < 16
    assert f"given up after {gone['answered']} (accuracy)" in capsys.readouterr().err


def test_it_tells_why_each_budget_was_chosen(done: SimpleNamespace) -> None:
    for stage in STAGES:
        tried = [t for t in trials(done.folder) if t["stage"] == stage]
        (budget,) = [t["budget"] for t in tried if t["chosen"]]
        reached = sum(t["feasible"] for t in tried)
        reason = f"{stage}: skips {budget}, the fastest of {reached} choices that reach 24.0 %; {3 - reached} do not"
        assert reason in done.stderr["search"]


def test_it_says_what_the_plan_saves_and_how_sure_that_is(done: SimpleNamespace) -> None:
    sure = read(done.folder / "search.json", "search")["confidence"]["speedup"]
    saving = f"{sure['value']:.2f} times as fast as full depth [{sure['low']:.2f}, {sure['high']:.2f}], accuracy "
    assert f"predicted: {saving}" in done.stderr["search"]
    assert "(95 % intervals, n = 16, the questions it was searched on)" in done.stderr["search"]
    assert done.summary["search"]["predicted_speedup"] == pytest.approx(sure["value"], abs=1e-4)


def test_too_few_validation_questions_are_warned_of(done: SimpleNamespace) -> None:
    warned = "16 validation questions are too few to tell a loss of 1 points from none: it would take about 300"
    assert any(message.startswith(warned) for message in done.warned["search"])


def test_enough_validation_questions_are_not_warned_of(copied: Path, again: Again) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f".*{TOO_FEW}")
        again(cli.search, "--search.eps=0.2")
    with pytest.warns(UserWarning, match=TOO_FEW):
        again(cli.search, "--search.eps=0.1")


def test_the_journal_holds_what_was_found_out(done: SimpleNamespace) -> None:
    head, *lines = recorded(done.folder)
    assert head["about"]["weights"] == Plan.from_pretrained(done.folder / "plan").provenance["weights"]
    cost, order = (line for line in lines if "fact" in line)
    assert (cost["fact"], cost["value"]) == ("cost", read(done.folder / "search.json", "search")["cost_model"])
    assert set(order["value"]) == set(STAGES)
    made = [tokens for line in lines for tokens, *_ in line.get("outputs", {}).values()]
    assert sum(map(len, made)) == done.summary["search"]["generated_tokens"] > 0
    assert sum("trial" in line for line in lines) > 0


def test_a_second_search_generates_nothing_and_ends_in_the_same_plan(
    done: SimpleNamespace, copied: Path, again: Again
) -> None:
    shutil.rmtree(copied / "plan")
    summary = again(cli.search)
    assert (summary["generated_tokens"], summary["prefill_tokens"]) == (0, 0)
    for path in ("plan/plan.json", "search.jsonl"):
        assert (copied / path).read_bytes() == (done.folder / path).read_bytes(), path


def test_a_search_that_was_cut_short_goes_on_where_it_stopped(
    done: SimpleNamespace, copied: Path, again: Again
) -> None:
    shutil.rmtree(copied / "plan")
    path = copied / "search.jsonl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match="the last line is torn"):
        summary = again(cli.search)
    assert 0 < summary["generated_tokens"] < done.summary["search"]["generated_tokens"]
    assert (copied / "plan" / "plan.json").read_bytes() == (done.folder / "plan" / "plan.json").read_bytes()


def test_without_racing_the_plan_is_the_same_and_nothing_is_given_up(
    done: SimpleNamespace, copied: Path, again: Again
) -> None:
    shutil.rmtree(copied / "plan")
    again(cli.search, "--search.racing=off")  # with the costs of the journal: measured again they would differ
    assert (copied / "plan" / "plan.json").read_bytes() == (done.folder / "plan" / "plan.json").read_bytes()
    assert {(t["stopped"], t["answered"]) for t in trials(copied)} == {("", 16)}
    assert all(t["latency"] > 0 for t in trials(copied))


def test_eps_may_change_between_searches_with_one_journal(done: SimpleNamespace, copied: Path, again: Again) -> None:
    summary = again(cli.search, "--search.eps=0.1")
    assert summary["target"] == pytest.approx(done.summary["search"]["target"] - 0.09)
    assert summary["generated_tokens"] < done.summary["search"]["generated_tokens"]
    assert recorded(copied)[0] == recorded(done.folder)[0]


@pytest.mark.parametrize(
    ("argument", "ranking"),
    [("--search.ranking=loss", "loss"), ("--search.ranking=greedy", "greedy"), ("--search.order=[2,0]", "given")],
)
def test_every_ranking_makes_a_plan_that_names_it(copied: Path, again: Again, argument: str, ranking: str) -> None:
    again(cli.search, argument, "--search.eps=0.2")
    plan = Plan.from_pretrained(copied / "plan")
    assert plan.provenance["ranking"] == ranking
    if ranking == "given":
        assert {j for stage in plan.stages.values() for j in stage.skip} <= {0, 2}
        assert {t["budget"] for t in trials(copied)} == {0, 2}


def test_exit_rules_are_searched_when_there_are_candidates(copied: Path, again: Again) -> None:
    again(cli.search, "--search.exit_candidates=[0.3]", "--search.eps=0.1")
    tried = {(t["stage"], t["exit"]) for t in trials(copied)}
    assert tried == {(stage, None) for stage in STAGES} | {("recall", 0.3), ("analyze", 0.3)}


def test_skipping_in_prefill_is_tried_when_asked_for(copied: Path, again: Again) -> None:
    again(cli.search, "--search.prefill=true", "--search.eps=0.1")
    for stage in STAGES:
        tried = [(t["budget"], t["prefill"]) for t in trials(copied) if t["stage"] == stage]
        assert tried == [(0, False), (2, False), (2, True), (4, False), (4, True)]


def test_a_journal_of_other_weights_is_refused(fails: Fail, copied: Path) -> None:
    model, journal = copied / "model" / "model.safetensors", copied / "search.jsonl"
    before = journal.read_bytes()
    save_file({name: tensor + 0.01 for name, tensor in load_file(model).items()}, model, {"format": "pt"})
    message = fails(cli.search)
    was = recorded(copied)[0]["about"]["weights"]
    assert f"search.jsonl is the journal of another search: weights: '{was}' then, '" in message
    assert "move the file away to begin anew" in message.lower()
    assert journal.read_bytes() == before


def test_a_journal_of_other_questions_is_refused(fails: Fail, copied: Path) -> None:
    assert "another search: questions: '" in fails(cli.search, "--search.questions=12")


def test_eps_above_the_accuracy_is_refused(fails: Fail, copied: Path) -> None:
    message = fails(cli.search, "--search.eps=0.3")
    assert "error: search.eps is 0.3, above full depth's accuracy of 0.2500" in message


def test_search_before_train_says_what_to_run(fails: Fail) -> None:
    message = fails(cli.search)
    assert message.startswith("error: ")
    assert "train.py" in message


def test_search_without_importance_says_what_to_run(fails: Fail, copied: Path) -> None:
    (copied / "importance.json").unlink()
    message = fails(cli.search)
    assert "importance.json" in message
    assert "python train.py" in message


def test_importance_of_another_model_is_refused_with_both_names_and_counts(fails: Fail, copied: Path) -> None:
    path = copied / "importance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "other (run)"}))
    message = fails(cli.search)
    assert "other (run) (4 sub-layers)" in message
    assert "tiny (mini) (4)" in message


def test_help_explains_every_search_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.search(["--help"], default=DEFAULT)
    assert stopped.value.code == 0
    blocks = capsys.readouterr().out.split("\n  --search.")[1:]
    words = {block.split()[0]: block.partition("(type:")[0].split() for block in blocks}  # name, placeholder, text
    assert [f.name for f in fields(SearchSettings) if len(words.get(f.name, [])) < 7] == []

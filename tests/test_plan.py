"""Plans on disk and in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from litestage.plan import FORMAT, VERSION, ExitRule, Plan, StagePlan
from litestage.report.schema import validate

STAGES = {"recall": StagePlan((7, 2, 2)), "analyze": StagePlan((0, 1, 3, 9), ExitRule(4, 0.25)), "last": StagePlan()}


@pytest.fixture
def plan() -> Plan:
    return Plan("small", 10, STAGES, {"eps": 0.01, "trials": [1, 2]})


def test_a_skip_set_is_sorted_and_holds_a_sublayer_once() -> None:
    assert StagePlan((7, 2, 2)).skip == (2, 7)


def test_json_and_back(plan: Plan) -> None:
    data = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(data) == plan
    rule = {"window": 4, "threshold": 0.25}
    assert data["stages"]["analyze"] == {"skip": [0, 1, 3, 9], "exit": rule, "prefill": False}
    assert data["stages"]["last"] == {"skip": [], "exit": None, "prefill": False}


def test_a_plan_from_before_prefill_could_skip_reads_as_one_that_does_not(plan: Plan) -> None:
    data = plan.to_json()
    for stage in data["stages"].values():
        del stage["prefill"]
    assert Plan.from_json(data) == plan


GROWING = StagePlan((2,), later=((1, (3, 2, 2)), (5, (2, 3, 8))), scale=((8, 0.5), (2, 1.25)))


def test_a_skip_set_may_grow_by_the_decode_step() -> None:
    assert GROWING.later == ((1, (2, 3)), (5, (2, 3, 8)))
    assert [GROWING.at(step) for step in (0, 1, 4, 5, 99)] == [(2,), (2, 3), (2, 3), (2, 3, 8), (2, 3, 8)]
    assert (GROWING.most, StagePlan((4,)).most, StagePlan((4,)).at(7)) == ((2, 3, 8), (4,), (4,))
    assert Plan("small", 10, {"a": GROWING, "b": StagePlan((1,))}).budgets == {"a": 3, "b": 1}


def test_growing_sets_and_factors_to_json_and_back(tmp_path: Path) -> None:
    plan = Plan("small", 10, {"a": GROWING, "b": StagePlan((1,))})
    data = json.loads(json.dumps(plan.to_json()))
    validate(data, "plan")
    assert Plan.from_json(data) == plan
    assert data["stages"]["a"]["later"] == [{"step": 1, "skip": [2, 3]}, {"step": 5, "skip": [2, 3, 8]}]
    assert data["stages"]["a"]["scale"] == {"2": 1.25, "8": 0.5}
    assert set(data["stages"]["b"]) == {"skip", "exit", "prefill"}
    card = (plan.save_pretrained(tmp_path) / "README.md").read_text()
    assert "| a | 3 | 1.5 | [2], from step 1 [2, 3], from step 5 [2, 3, 8], scaled | decode | none |" in card


def test_without_exit_keeps_growing_sets_and_factors() -> None:
    stage = replace(GROWING, exit=ExitRule())
    assert Plan("small", 10, {"a": stage}).without_exit() == Plan("small", 10, {"a": GROWING})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"later": ((0, (1,)),)}, "begins at decode step 0; the steps rise, from 1"),
        ({"later": ((3, (1,)), (3, (1, 2)))}, "begins at decode step 3; the steps rise"),
        ({"skip": (1, 4), "later": ((2, (4, 5)),)}, r"from decode step 2 on lacks \[1\]; skip sets only grow"),
        ({"later": ((2, (4, 5)), (3, (5,)))}, r"from decode step 3 on lacks \[4\]"),
        ({"skip": (1,), "scale": ((2, 1.5),)}, "sub-layer 2 has factor 1.5; a positive one, of a skipped sub-layer"),
        ({"skip": (1,), "scale": ((1, 0.0),)}, "sub-layer 1 has factor 0.0; a positive one"),
        ({"skip": (1,), "scale": ((1, float("nan")),)}, "sub-layer 1 has factor nan; a positive one"),
        ({"skip": (1,), "scale": ((1, 1.5),), "prefill": True}, "skips in prefill too cannot scale"),
    ],
)
def test_impossible_growth_and_factors_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StagePlan(**parts)


def test_save_and_load(plan: Plan, tmp_path: Path) -> None:
    folder = plan.save_pretrained(tmp_path / "new" / "plan")
    assert Plan.from_pretrained(folder) == plan
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "plan.json"]


@pytest.mark.parametrize(("id_", "revision"), [("org/my.plan", None), ("org/my.plan@v1", "v1")])
def test_a_plan_is_read_from_the_hub(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id_: str, revision: str | None
) -> None:
    asked: list[tuple[str, str, str | None]] = []

    def download(repo_id: str, filename: str, *, revision: str | None = None) -> str:
        asked.append((repo_id, filename, revision))
        return str(plan.save_pretrained(tmp_path / "cache") / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    assert Plan.from_pretrained(id_) == plan
    assert asked == [("org/my.plan", "plan.json", revision)]


def test_a_hub_that_has_no_plan_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"^org/plan: no such folder here, and the hub did not give a plan\.json"
    ):
        Plan.from_pretrained("org/plan")  # the tests are offline


@pytest.mark.parametrize("name", ["org/plan", "org"])
def test_folders_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"^{name}/plan\.json: no plan here; run search\.py"):
        Plan.from_pretrained(name)


def test_budgets_are_sublayers_and_the_mean_is_full_layers(plan: Plan) -> None:
    assert plan.budgets == {"recall": 2, "analyze": 4, "last": 0}
    assert plan.mean_full_layers == pytest.approx((2 + 4 + 0) / 3 / 2)
    assert Plan("small", 10, {}).mean_full_layers == 0.0


def test_the_mean_of_a_published_row() -> None:
    # OpenBookQA, full layers per stage 2/4/5: the paper's "# Skip" is 3.7.
    stages = {name: StagePlan(tuple(range(2 * n))) for name, n in (("a", 2), ("b", 4), ("c", 5))}
    assert round(Plan("TinyLlama", 44, stages).mean_full_layers, 1) == 3.7


def test_without_exit_keeps_the_skip_sets(plan: Plan) -> None:
    bare = plan.without_exit()
    assert bare.budgets == plan.budgets
    assert {stage.exit for stage in bare.stages.values()} == {None}
    assert bare.provenance == plan.provenance


def test_full_depth_skips_nothing() -> None:
    assert Plan.full_depth("small", 10, ["a", "b"]) == Plan("small", 10, {"a": StagePlan(), "b": StagePlan()})


@pytest.mark.parametrize("wrong", [-1, 10, 1.5])
def test_a_sublayer_that_is_not_there_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"stage 'recall' skips sub-layers \[{wrong}\]; small has 0 to 9"):
        Plan("small", 10, {"recall": StagePlan((3, wrong))})
    with pytest.raises(ValueError, match=rf"skips sub-layers \[{wrong}\]; small has 0 to 9"):
        Plan("small", 10, {"recall": StagePlan((3,), later=((1, (3, wrong)),))})


@pytest.mark.parametrize(("window", "threshold", "message"), [(0, 0.5, "window is 0"), (5, 1.1, "threshold is 1.1")])
def test_an_impossible_exit_rule_is_refused(window: int, threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExitRule(window, threshold)


@pytest.mark.parametrize(("model", "count"), [("big", 10), ("small", 12), ("big", 12)])
def test_another_model_is_refused_with_both_names_and_counts(plan: Plan, model: str, count: int) -> None:
    want = rf"made for small \(10 sub-layers\) but the model is {model} \({count} sub-layers\)"
    with pytest.raises(ValueError, match=want):
        plan.check(model, count, list(STAGES))


def test_other_stages_are_refused_but_their_order_is_free(plan: Plan) -> None:
    plan.check("small", 10, reversed(STAGES))
    with pytest.raises(
        ValueError, match=r"plan has stages \['analyze', 'last', 'recall'\], the pipeline has \['think'\]"
    ):
        plan.check("small", 10, ["think"])


def test_a_missing_plan_names_the_file_and_the_script(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plan\.json: no plan here; run search\.py"):
        Plan.from_pretrained(tmp_path)


def test_broken_json_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{\n "format": "litestage-plan",\n "version": 1,,\n}')
    with pytest.raises(ValueError, match=r"plan\.json: line 3: not JSON"):
        Plan.from_pretrained(tmp_path)


GOOD = {"format": FORMAT, "version": VERSION, "model": "m", "num_sublayers": 4, "stages": {}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**GOOD, "version": 2}, f"here.json: found format '{FORMAT}' version 2; this reads '{FORMAT}' version 1"),
        ({}, "here.json: found format None version None"),
        ([], "here.json: not a plan"),
        ({k: v for k, v in GOOD.items() if k != "model"}, "here.json: not a plan: KeyError.*model"),
        ({**GOOD, "stages": []}, "here.json: not a plan"),
        ({**GOOD, "stages": {"a": {"exit": None}}}, "here.json: not a plan: KeyError.*skip"),
        ({**GOOD, "stages": {"a": {"skip": [0]}}}, "here.json: not a plan: KeyError.*exit"),
        ({**GOOD, "stages": {"a": {"skip": 3, "exit": None}}}, "here.json: not a plan"),
        ({**GOOD, "stages": {"a": {"skip": [], "exit": {"windows": 3}}}}, "here.json: not a plan.*windows"),
        ({**GOOD, "stages": {"a": {"skip": [], "exit": None, "later": [{"step": 1}]}}}, "not a plan: KeyError.*skip"),
        ({**GOOD, "stages": {"a": {"skip": [], "exit": None, "scale": [1.5]}}}, "here.json: not a plan"),
        ({**GOOD, "stages": {"a": {"skip": [4], "exit": None}}}, r"stage 'a' skips sub-layers \[4\]; m has 0 to 3"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(data: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan.from_json(data, "here.json")

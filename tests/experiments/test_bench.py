"""What experiments share: nothing is made twice, and a run that lacks something says what makes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from litestage import pipeline
from litestage.experiments import KNOWN, Bench
from litestage.experiments import bench as module
from litestage.metrics import score
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan

Opened = Callable[..., Bench]


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be decoded any more."""

    def decode(*_: object) -> None:
        raise AssertionError("something was generated again")

    monkeypatch.setattr(pipeline, "decode", decode)


def skipping(bench: Bench, *skip: int) -> Plan:
    full = bench.engine.full_depth()
    return replace(full, stages=dict.fromkeys(full.stages, StagePlan(skip)))


def test_a_plan_is_measured_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = opened()
    first = bench.measure([skipping(bench, 1), skipping(bench, 1), bench.engine.full_depth()])
    assert first[0] is first[1]
    assert first[2].speedup == {"median": 1.0, "low": 1.0, "high": 1.0}
    monkeypatch.setattr(module, "StagedEvaluation", None)  # would fail if it were called
    assert bench.measure([skipping(bench, 1)]) == first[:1]
    assert len(bench.controls) == 1


def test_accuracy_is_that_of_the_votes(opened: Opened) -> None:
    bench = opened()
    plan = skipping(bench, 0, 3)
    (measured,) = bench.measure([plan])
    votes = run(bench.engine, bench.test, plan, bench.settings.evaluate.attempts, bench.settings.seed).attempts
    assert measured.score == score(bench.test, votes)
    greedy = run(bench.engine, bench.test, plan).attempts
    assert measured.tokens == pytest.approx(sum(o.tokens for a in greedy for o in a.outputs) / len(bench.test))
    assert measured.seconds["low"] <= measured.seconds["median"] <= measured.seconds["high"]


def test_answers_are_kept_and_exit_only_cuts(bench: Bench, request: pytest.FixtureRequest) -> None:
    plan = skipping(bench, 2)
    whole = bench.answers(plan, bench.test)
    one = {"recall": replace(plan.stages["recall"], exit=ExitRule(1, 1.0))}
    rest = {name: stage for name, stage in plan.stages.items() if name != "recall"}
    request.getfixturevalue("forbidden")
    assert bench.answers(plan, bench.test) is whole
    assert bench.answers(plan, bench.test[:2]) == whole[:2]
    never = replace(plan, stages={"recall": replace(plan.stages["recall"], exit=ExitRule(5, 0.0)), **rest})
    texts = [[o.text for o in a.outputs] for a in bench.answers(never, bench.test)]
    assert texts == [[o.text for o in a.outputs] for a in whole]
    with pytest.raises(AssertionError, match="generated again"):  # what follows a cut output is new
        bench.answers(replace(plan, stages={**one, **rest}), bench.test)


def test_the_search_at_its_own_eps_finds_its_plan_again_and_generates_nothing(
    opened: Opened, request: pytest.FixtureRequest
) -> None:
    bench = opened()
    before = (bench.given.folder / "search.jsonl").read_bytes()
    request.getfixturevalue("forbidden")
    assert bench.found(bench.settings.search.eps).plan.stages == bench.plan.stages
    assert (bench.given.folder / "search.jsonl").read_bytes() == before


def test_what_others_generate_stays_out_of_the_journal(opened: Opened) -> None:
    bench = opened()
    bench.answers(skipping(bench, 1, 3), bench.test)
    known = len(bench.objective.reuse.outputs)
    before = (bench.given.folder / "search.jsonl").read_bytes()
    bench.objective.trial(bench.engine.full_depth())
    assert (bench.given.folder / "search.jsonl").read_bytes() == before
    assert len(bench.reuse.outputs) == known


@pytest.mark.parametrize(
    ("gone", "name", "script"),
    [
        ("search.jsonl", "budgets", "search.py"),
        ("search.jsonl", "frontier", "search.py"),
        ("search.json", "search-cost", "search.py"),
        ("plan", "exit", "search.py"),
        ("plan", "entropy", "search.py"),
        ("importance.json", "motivation", "train.py"),
        ("importance.json", "importance", "train.py"),
        ("metrics", "dynamics", "train.py"),
    ],
)
def test_what_is_missing_is_named_with_the_script_that_makes_it(
    copied: Path, opened: Opened, gone: str, name: str, script: str
) -> None:
    path = copied / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{gone}.*run.*{script}"):
        KNOWN[name](opened())


def test_a_file_of_another_version_names_the_script(copied: Path, opened: Opened) -> None:
    path = copied / "search.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1}))
    with pytest.raises(ValueError, match=r"search\.json: .*version: is 1; allowed: 2.*python search\.py"):
        KNOWN["search-cost"](opened())


def test_a_plan_of_other_weights_is_refused(copied: Path, opened: Opened) -> None:
    plan = Plan.from_pretrained(copied / "plan")
    replace(plan, provenance={"weights": "0123456789ab"}).save_pretrained(copied / "plan")
    with pytest.raises(ValueError, match=r"trained again since this search; run search\.py again"):
        opened().plan.check("", 0, [])


def test_several_processes_are_refused(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"made by one process, not 2; set trainer\.devices to 1"):
        opened("--trainer.devices=2", "--trainer.strategy=ddp")


def test_a_plan_that_skips_in_prefill_is_refused_where_texts_are_read_again(copied: Path, opened: Opened) -> None:
    plan = Plan.from_pretrained(copied / "plan")
    stages = {**plan.stages, "analyze": StagePlan((1,), prefill=True)}
    replace(plan, stages=stages).save_pretrained(copied / "plan")
    with pytest.raises(ValueError, match=r"'analyze' skips in prefill \(search\.prefill\)"):
        KNOWN["entropy"](opened())

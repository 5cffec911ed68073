"""Good documents pass; broken ones are refused with their path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.plan import ExitRule, Plan, StagePlan
from litestage.report.schema import NAMES, read, validate

Document = dict[str, Any]


def _set(*path: str | int, to: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


BROKEN: list[tuple[str, Callable[[Document], None], list[str]]] = [
    ("results", _set("version", to=2), ["$.version", "1"]),
    ("results", _set("format", to="other"), ["$.format", "litestage-results"]),
    ("results", _set("methods", 2, "accuracy", to=62.8), ["$.methods[2].accuracy", "62.8", "0 to 1"]),
    ("results", _set("methods", 1, "attempts", to="ten"), ["$.methods[1].attempts", "'ten'", "integer"]),
    ("results", _set("methods", 0, "exit", to=1), ["$.methods[0].exit"]),
    ("results", _drop("methods", 3, "n"), ["$.methods[3]", "'n'", "required"]),
    ("results", _set("methods", 0, "colour", to="red"), ["$.methods[0]", "'colour'", "accuracy_stderr"]),
    ("results", _set("methods", to=[]), ["$.methods"]),
    ("results", _drop("methods", 0), ["$.methods", "'full depth'"]),
    ("results", _set("methods", 4, "name", to="litestage"), ["$.methods[4].name", "twice"]),
    ("results", _set("methods", 2, "budgets", "recall", to=17), ["$.methods[2].budgets.recall", "17", "16"]),
    ("results", _set("methods", 2, "tokens_per_question", to={"recall": 1.0}), ["tokens_per_question", "summarize"]),
    ("results", _set("methods", 2, "skipped_parameters", to={"recall": 8}), ["skipped_parameters", "summarize"]),
    ("results", _set("methods", 2, "skipped_parameters", to={"recall": 0.5}), ["skipped_parameters.recall", "0.5"]),
    ("results", _set("methods", 2, "skipped_sublayers", to={"recall": -1}), ["skipped_sublayers.recall", "-1"]),
    ("results", _set("methods", 2, "speedup", "low", to=9.0), ["$.methods[2].speedup", "low <= median <= high"]),
    ("results", _set("methods", 2, "ms_per_token", to=float("nan")), ["$.methods[2].ms_per_token", "finite"]),
    ("results", _set("timing", "control", to="nobody"), ["$.timing.control", "'nobody'", "adaskip"]),
    ("results", _set("timing", "processes", to=0), ["$.timing.processes", "1 or more"]),
    ("results", _set("environment", "git", to="main"), ["$.environment.git", "'main'", "hexadecimal"]),
    ("plan", _set("stages", "recall", "exit", "threshold", to=1.5), ["$.stages.recall.exit.threshold", "1.5"]),
    ("plan", _set("stages", "recall", "prefill", to=1), ["$.stages.recall.prefill", "true if"]),
    ("plan", _drop("stages", "analyze", "exit"), ["$.stages.analyze", "'exit'"]),
    ("plan", _set("stages", "analyze", "skip", to=[3, 3]), ["$.stages.analyze.skip"]),
    ("plan", _set("stages", "analyze", "skip", to=[16]), ["$.stages.analyze.skip", "16", "0 to 15"]),
    ("plan", _set("stages", "analyze", "later", to=[{"step": 0, "skip": [2, 5]}]), ["later[0].step", "1 or more"]),
    ("plan", _set("stages", "analyze", "later", to=[{"step": 3, "skip": [2, 16]}]), ["later[0].skip", "0 to 15"]),
    ("plan", _set("stages", "analyze", "scale", to={"16": 1.5}), ["analyze.scale", "16", "0 to 15"]),
    ("plan", _set("stages", "analyze", "scale", to={"2": 0}), ["analyze.scale", "0 is less", "above 0"]),
    ("plan", _set("stages", "analyze", "scale", to={"two": 1.5}), ["analyze.scale", "'two'"]),
    ("importance", _set("stages", "recall", "ratios", to=[1.1] * 15), ["recall.ratios", "has 15 values", "16"]),
    ("importance", _set("stages", "recall", "ratios", to=[0.0] * 16), ["recall.ratios[", "0.0", "above 0"]),
    ("importance", _set("stages", "recall", "blocks", to=[0.9] * 16), ["recall.blocks", "has 16 values", "8, one a"]),
    ("importance", _set("stages", "recall", "blocks", to=[1.1] * 8), ["recall.blocks[", "1.1"]),
    ("importance", _set("similarity", to=[0.5]), ["$.similarity", "has 1 values", "16"]),
    ("importance", _set("similarity", 3, to=1.5), ["$.similarity[3]", "1.5"]),
    ("importance", _set("order", 0, to=99), ["$.order", "0 to 15"]),
    ("importance", _set("stages", "recall", "questions", to=0), ["$.stages.recall.questions", "1 or more"]),
    ("search", _set("version", to=1), ["$.version", "2"]),
    ("search", _set("trials", 0, "latency", to=-1.0), ["$.trials[0].latency", "-1.0"]),
    ("search", _set("trials", 0, "stage", to="guess"), ["$.trials[0].stage", "'guess'", "analyze"]),
    ("search", _set("trials", 1, "budget", to=7), ["$.trials[1].budget", "7"]),
    ("search", _set("trials", 1, "feasible", to="yes"), ["$.trials[1].feasible", "'yes'"]),
    ("search", _set("trials", 3, "stopped", to="boredom"), ["$.trials[3].stopped", "'boredom'", "'chance'"]),
    ("search", _set("trials", 3, "stopped", to=None), ["$.trials[3].stopped", "None"]),
    ("search", _set("trials", 3, "answered", to=0), ["$.trials[3].answered", "1 or more"]),
    ("search", _set("trials", 0, "tokens", to={}), ["$.trials[0].tokens", "summarize"]),
    ("search", _set("trials", 0, "exit", to=1.5), ["$.trials[0].exit", "1.5"]),
    ("search", _set("trials", 0, "prefill", to=None), ["$.trials[0].prefill", "None"]),
    ("search", _set("spent", "generated", to=-1), ["$.spent.generated", "-1"]),
    ("search", _drop("spent", "prefill"), ["$.spent", "'prefill'"]),
    ("search", _set("confidence", "speedup", "high", to=float("inf")), ["$.confidence.speedup.high", "finite"]),
    ("search", _set("cost_model", to=[]), ["$.cost_model", "object"]),
    ("experiment", _set("version", to=2), ["$.version", "1"]),
    ("experiment", _set("name", to="Fig 5"), ["$.name", "'Fig 5'"]),
    ("experiment", _set("n", to=0), ["$.n", "1 or more"]),
    ("experiment", _set("split", to="train"), ["$.split", "'train'", "validation"]),
    ("experiment", _set("rows", 0, "accuracy", to=[1]), ["$.rows[0].accuracy", "a number, a text"]),
    ("experiment", _set("rows", 0, "accuracy", to=float("nan")), ["$.rows[0].accuracy", "finite"]),
    ("experiment", _drop("rows", 1, "accuracy"), ["$.rows[1]", "has columns", "accuracy"]),
    ("experiment", _set("panels", 0, "kind", to="pie"), ["$.panels[0].kind", "'pie'", "'lines'"]),
    ("experiment", _set("panels", 1, "error", to=["none"]), ["$.panels[1]", "names columns ['none']"]),
    ("experiment", _set("panels", 1, "where", to={"gone": 1}), ["$.panels[1]", "names columns ['gone']"]),
    ("experiment", _set("environment", "threads", to=0), ["$.environment.threads", "1 or more"]),
]


@pytest.fixture
def documents(
    results: Document, plan: Document, importance: Document, profile: Document, experiment: Document
) -> dict[str, Document]:
    """Format -> a good document of it."""
    named = {"results": results, "plan": plan, "importance": importance, "search": profile}
    return {**named, "experiment": experiment}


@pytest.mark.parametrize("name", NAMES)
def test_good_documents_pass_also_after_json(name: str, documents: dict[str, Document]) -> None:
    validate(documents[name], name)
    validate(json.loads(json.dumps(documents[name])), name)


@pytest.mark.parametrize(("name", "change", "words"), BROKEN)
def test_broken_documents_are_refused_by_path(
    name: str, change: Callable[[Document], None], words: list[str], documents: dict[str, Document]
) -> None:
    change(documents[name])
    with pytest.raises(ValueError, match=rf"^{name}: \$.*allowed: ") as error:
        validate(documents[name], name)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(("trial", "latency"), [(0, None), (3, 0.1)])
def test_only_a_trial_that_was_given_up_has_no_latency(profile: Document, trial: int, latency: float | None) -> None:
    profile["trials"][trial]["latency"] = latency
    with pytest.raises(ValueError, match=rf"\$\.trials\[{trial}\]\.latency"):
        validate(profile, "search")


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_format_is_required(name: str, documents: dict[str, Document]) -> None:
    for field in documents[name]:
        rest = {key: value for key, value in documents[name].items() if key != field}
        with pytest.raises(ValueError, match=f"'{field}' is a required property"):
            validate(rest, name)


def test_a_long_wrong_value_is_cut_short(results: Document) -> None:
    results["run"] = list(range(5000))
    with pytest.raises(ValueError, match=r"\$\.run") as error:
        validate(results, "results")
    assert len(str(error.value)) < 400


def test_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'journal'.*results, plan, importance, search"):
        validate({}, "journal")


def test_what_a_plan_writes_is_a_plan() -> None:
    stages = {"recall": StagePlan((1, 4), ExitRule()), "summarize": StagePlan()}
    validate(Plan("tiny", 16, stages, {"seed": 0}).to_json(), "plan")


def test_read_returns_the_document_and_names_the_file(tmp_path: Path, plan: Document) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        read(path, "plan")
    path.write_text(json.dumps(plan))
    assert read(path, "plan") == plan
    path.write_text('{\n"format": ,')
    with pytest.raises(ValueError, match=r"plan\.json: line 2: not JSON"):
        read(path, "plan")
    path.write_text(json.dumps({**plan, "num_sublayers": 0}))
    with pytest.raises(ValueError, match=r"plan\.json: plan: \$\.num_sublayers"):
        read(path, "plan")

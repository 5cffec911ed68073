"""The formats of the files a run writes, checked before they are written and after they are read.

The shapes are JSON Schemas in `schemas/`; rules that span several fields are functions here.

    validate(results, "results")                  # raises ValueError, with the path inside the document
    results = read(Path("checkpoints/miniworld/results.json"), "results")
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry

NAMES = ("results", "plan", "importance", "search", "experiment")
LONGEST = 160
"""Characters of a wrong value that an error shows."""

Problems = Iterator[tuple[str, str]]
"""Pairs of a path such as `$.methods[0].name` and what is wrong there."""


def validate(data: Any, name: str) -> None:
    """Check a document against one of the formats `NAMES`.

    Args:
        data: the document, as `json.loads` gives it.
        name: which format.

    Raises:
        ValueError: the document breaks the format (names the path inside it, the value and what is allowed),
            or there is no such format.
    """
    if name not in NAMES:
        raise ValueError(f"no format {name!r}; the formats are {', '.join(NAMES)}")
    error = best_match(_validator(name).iter_errors(data))
    if error is not None:
        raise ValueError(f"{name}: {error.json_path}: {_explain(error)}")
    for path, problem in _not_finite(data, "$"):
        raise ValueError(f"{name}: {path}: {problem}")
    for path, problem in _RULES[name](data):
        raise ValueError(f"{name}: {path}: {problem}")


def read(path: Path, name: str) -> dict[str, Any]:
    """Read and check one file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON or breaks the format; the message names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _check_version(data, name)
        validate(data, name)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return data


def _check_version(data: Any, name: str) -> None:
    """Say so first when a document is of another version: what else differs then follows from that."""
    schema: Any = _validator(name).schema
    known = schema["properties"]["version"]["const"]
    found = data.get("version", known) if isinstance(data, Mapping) else known
    if found != known:
        raise ValueError(f"{name}: $.version: is {found!r}; allowed: {known}, which this program reads and writes")


@cache
def _validator(name: str) -> Draft202012Validator:
    schemas = {f"{known}.schema.json": _schema(known) for known in (name, "results")}  # others refer to its parts
    return Draft202012Validator(schemas[f"{name}.schema.json"], registry=Registry().with_contents(schemas.items()))


def _schema(name: str) -> dict[str, Any]:
    text = files("litestage.report").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _explain(error: ValidationError) -> str:
    """The library's message, cut to a readable length, and what the schema allows there."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    value = repr(error.instance)
    message = error.message.replace(value, value[:LONGEST] + "...") if len(value) > LONGEST else error.message
    if error.validator == "additionalProperties":
        allowed = "the fields " + ", ".join(schema.get("properties", {}))
    else:
        allowed = schema.get("description", json.dumps(error.validator_value))
    return f"{message}; allowed: {allowed}"


def _not_finite(value: Any, path: str) -> Problems:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value} is not a finite number; allowed: finite numbers, or no such document"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")


def _results(data: Mapping[str, Any]) -> Problems:
    names = [method["name"] for method in data["methods"]]
    if "full depth" not in names:
        yield "$.methods", f"has only {names}; allowed: a list with 'full depth', which the others are compared with"
    stages = set(data["methods"][0]["budgets"])
    for index, method in enumerate(data["methods"]):
        path = f"$.methods[{index}]"
        if method["name"] in names[:index]:
            yield f"{path}.name", f"{method['name']!r} appears twice; allowed: distinct names"
        yield from _budgets(method["budgets"], data["num_sublayers"], f"{path}.budgets")
        for field in ("budgets", "tokens_per_question", "skipped_sublayers", "skipped_parameters"):
            if field in method and set(method[field]) != stages:
                yield f"{path}.{field}", f"has stages {sorted(method[field])}; allowed: {sorted(stages)}"
        low, median, high = (method["speedup"][key] for key in ("low", "median", "high"))
        if not low <= median <= high:
            yield f"{path}.speedup", f"low {low}, median {median}, high {high}; allowed: low <= median <= high"
    control = data["timing"]["control"]
    if control is not None and control not in names:
        yield "$.timing.control", f"{control!r} is not a method; allowed: one of {names}, or null"


def _plan(data: Mapping[str, Any]) -> Problems:
    for name, stage in data["stages"].items():
        path = f"$.stages.{name}"
        sets = {f"{path}.skip": stage["skip"], f"{path}.scale": map(int, stage.get("scale", {}))}
        sets |= {f"{path}.later[{i}].skip": part["skip"] for i, part in enumerate(stage.get("later", []))}
        for place, named in sets.items():
            wrong = [j for j in named if j >= data["num_sublayers"]]
            if wrong:
                yield place, f"skips sub-layers {wrong}; allowed: 0 to {data['num_sublayers'] - 1}"


def _importance(data: Mapping[str, Any]) -> Problems:
    count = data["num_sublayers"]
    lists = {"$.similarity": data["similarity"]}
    for name, stage in data["stages"].items():
        lists |= {f"$.stages.{name}.{key}": stage[key] for key in ("similarity", "ratios") if key in stage}
        if len(stage.get("blocks", count // 2 * [0])) != count // 2:
            yield f"$.stages.{name}.blocks", f"has {len(stage['blocks'])} values; allowed: {count // 2}, one a block"
    for path, values in lists.items():
        if len(values) != count:
            yield path, f"has {len(values)} values; allowed: {count}, one a sub-layer"
    if sorted(data["order"]) != list(range(count)):
        yield "$.order", f"is not an order of all sub-layers; allowed: each of 0 to {count - 1} once"


def _search(data: Mapping[str, Any]) -> Problems:
    stages = list(data["full_depth"]["latency"])
    for index, trial in enumerate(data["trials"]):
        path = f"$.trials[{index}]"
        if trial["stage"] not in stages:
            yield f"{path}.stage", f"{trial['stage']!r} is not a stage; allowed: one of {stages}"
        for field in ("budgets", "tokens"):
            if set(trial[field]) != set(stages) and not (trial["stopped"] and field == "tokens"):
                yield f"{path}.{field}", f"has stages {sorted(trial[field])}; allowed: {sorted(stages)}"
        if bool(trial["stopped"]) != (trial["latency"] is None) or (trial["stopped"] and trial["feasible"]):
            yield f"{path}.latency", "a trial has a latency or was given up, never both; given up, it is not feasible"
        if trial["budgets"].get(trial["stage"]) != trial["budget"]:
            yield f"{path}.budget", f"{trial['budget']} differs from budgets.{trial['stage']}; allowed: the same number"


def _experiment(data: Mapping[str, Any]) -> Problems:
    columns = [column["name"] for column in data["columns"]]
    for index, row in enumerate(data["rows"]):
        if list(row) != columns:
            yield f"$.rows[{index}]", f"has columns {list(row)}; allowed: {columns}"
    for index, panel in enumerate(data["panels"]):
        named = [panel["x"], panel["y"], panel["by"], panel["value"], *panel["error"], *panel["x_error"]]
        wrong = sorted({name for name in (*named, *panel["where"]) if name} - set(columns))
        if wrong:
            yield f"$.panels[{index}]", f"names columns {wrong}; allowed: {columns}"


def _budgets(budgets: Mapping[str, int], count: int, path: str) -> Problems:
    for stage, budget in budgets.items():
        if budget > count:
            yield f"{path}.{stage}", f"{budget} sub-layers are skipped; allowed: 0 to {count}"


_RULES: dict[str, Callable[[Mapping[str, Any]], Problems]] = {
    "results": _results,
    "plan": _plan,
    "importance": _importance,
    "search": _search,
    "experiment": _experiment,
}

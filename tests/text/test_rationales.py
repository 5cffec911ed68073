from __future__ import annotations

import gzip
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Question, Rationale
from litestage.text.rationales import PACKAGED, join, load, questionable, read, tinythinker

ROW = {"id": "t1", "recall": "Wood floats.", "analyze": {"A": "a nail sinks.", "B": "a log floats."}}
RATIONALE = Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": ROW["analyze"]})
QUESTION = Question("t1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")
COUNTS = {"obqa": 4957, "csqa": 9741, "strategyqa": 2060}
LABELS = {"obqa": "ABCD", "csqa": "ABCDE", "strategyqa": "AB"}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROW)
    assert read(path) == {"t1": [RATIONALE]}
    assert read(path)["t1"][0].where == f"{path}:1"


def test_a_question_may_have_several_rationales(tmp_path: Path) -> None:
    found = read(write(tmp_path / "mine.jsonl", ROW, {**ROW, "id": "t2"}, {**ROW, "recall": "Iron sinks."}))
    assert {id_: [r.texts["recall"][""] for r in written] for id_, written in found.items()} == {
        "t1": ["Wood floats.", "Iron sinks."],
        "t2": ["Wood floats."],
    }


def test_stages_may_have_any_names(tmp_path: Path) -> None:
    found = read(write(tmp_path / "mine.jsonl", {"id": "t1", "think": " It floats. "}))
    assert found == {"t1": [Rationale("t1", {"think": {"": "It floats."}})]}


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", ROW, {**ROW, "recall": ""})
    with pytest.raises(ValueError, match=r"mine\.jsonl:2: field 'recall': value ''; expected a text that is not empty"):
        read(path)


def test_only_known_questions_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", ROW)
    assert read(path, [QUESTION]) == read(path)
    with pytest.raises(ValueError, match=r"mine\.jsonl:1: field 'id': value 't1'; expected the id of one of the 0"):
        read(path, [])
    with pytest.raises(ValueError, match=r"mine\.jsonl:1: field 'analyze\.B': value 'B'; expected one of the question"):
        read(path, [replace(QUESTION, options={"A": "a nail"})])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl: no such file; expected JSON lines with id"):
        read(tmp_path / "nowhere.jsonl")


def test_a_folder_is_tinythinkers(tmp_path: Path) -> None:
    splits = {"train": [QUESTION], "validation": [], "test": []}
    tinythinker.write(tmp_path, splits, {"t1": [RATIONALE]})
    assert read(tmp_path, [QUESTION]) == {"t1": [RATIONALE]}
    with pytest.raises(ValueError, match="TinyThinker's files name no ids; tell which questions they are about"):
        read(tmp_path)


@pytest.fixture(scope="module")
def packaged() -> dict[str, dict[str, list[Rationale]]]:
    """All packaged rationales; reading them takes a second."""
    return {benchmark: load(benchmark, keep_questionable=True) for benchmark in PACKAGED}


@pytest.mark.parametrize("benchmark", PACKAGED)
def test_packaged_rationales_are_complete(packaged: dict[str, dict[str, list[Rationale]]], benchmark: str) -> None:
    found = packaged[benchmark]
    assert len(found) == COUNTS[benchmark]
    for written in found.values():
        assert {"".join(rationale.texts["analyze"]) for rationale in written} == {LABELS[benchmark]}
        assert all(rationale.texts["recall"][""] for rationale in written)


def test_questionable_ones_are_left_out(packaged: dict[str, dict[str, list[Rationale]]]) -> None:
    assert len(questionable()) == 222
    assert questionable() <= set().union(*packaged.values())
    left_out = packaged["strategyqa"].keys() - load("strategyqa").keys()
    assert left_out == packaged["strategyqa"].keys() & questionable() != set()


@pytest.mark.parametrize("benchmark", PACKAGED)
def test_packaging_is_reproducible(benchmark: str) -> None:
    header = files("litestage.text.data").joinpath(f"rationales_{benchmark}.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0, "the gzip header holds a file name; pack with gzip -n"
    assert header[4:8] == bytes(4), "the gzip header holds a time; pack with gzip -n"


def test_unknown_benchmark() -> None:
    with pytest.raises(ValueError, match=r"benchmark 'arc'; there are some for \['obqa', 'csqa', 'strategyqa'\]"):
        load("arc")


def test_join_keeps_questions_with_a_rationale() -> None:
    other = Question("t2", "Which sinks?", {"A": "a nail", "B": "a log"}, "A")
    assert join([other, QUESTION], {"t1": [RATIONALE], "t3": [RATIONALE]}) == [(QUESTION, RATIONALE)]
    assert join([other, QUESTION], {"t1": [RATIONALE] * 2}) == [(QUESTION, RATIONALE)] * 2
    assert join([other], {"Which sinks?": [RATIONALE]}, lambda q: q.text) == [(other, RATIONALE)]


@pytest.mark.parametrize("labels", ["A", "ABC", "AC"])
def test_join_names_differing_options(labels: str) -> None:
    rationale = Rationale("t1", {"recall": {"": "r."}, "analyze": dict.fromkeys(labels, "x.")})
    with pytest.raises(
        ValueError, match=r"question t1: its rationale has analyze texts for .*options are \['A', 'B'\]"
    ):
        join([QUESTION], {"t1": [rationale]})

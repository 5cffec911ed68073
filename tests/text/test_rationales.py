from __future__ import annotations

import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Question, Rationale
from litestage.text.rationales import join, load, read

ROW = {"id": "t1", "recall": "Wood floats.", "analyze": {"A": "a nail sinks.", "B": "a log floats."}}
QUESTION = Question("t1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")


def write(path: Path, *rows: dict[str, Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_read(tmp_path: Path, name: str) -> None:
    found = read(write(tmp_path / name, ROW))
    assert found == {"t1": Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": ROW["analyze"]})}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ""}, "field 'id': value ''; expected a text that is not empty"),
        ({"id": "t1"}, "field 'id': value 't1'; expected an id that no earlier line has"),
        ({"recall": None}, "field 'recall': value None; expected a text that is not empty"),
        ({"analyze": ["x"]}, r"field 'analyze': value \['x'\]; expected an object"),
        ({"analyze": {}}, r"field 'analyze': value \{\}; expected an object"),
        ({"analyze": {"A": "x.", "B": 3}}, r"field 'analyze\.B': value 3; expected a text that is not empty"),
    ],
)
def test_bad_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "mine.jsonl", ROW, {**ROW, "id": "t2", **change})
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:2: ")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl: no such file; expected JSON lines with id"):
        read(tmp_path / "nowhere.jsonl")


def test_packaged_rationales() -> None:
    kept, all_ = load("obqa"), load("obqa", keep_questionable=True)
    questionable = files("litestage.text.data").joinpath("questionable.txt").read_text().split()
    assert len(all_) == 4957
    assert len(questionable) == len(set(questionable)) > 0
    assert all_.keys() - kept.keys() == set(questionable)
    assert all(set(r.texts["analyze"]) == set("ABCD") and r.texts["recall"][""] for r in all_.values())


def test_packaging_is_reproducible() -> None:
    header = files("litestage.text.data").joinpath("rationales_obqa.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0, "the gzip header holds a file name; pack with gzip -n"
    assert header[4:8] == bytes(4), "the gzip header holds a time; pack with gzip -n"


def test_unknown_benchmark() -> None:
    with pytest.raises(ValueError, match=r"benchmark 'arc'; there are some for \['obqa'\]"):
        load("arc")


def test_join_keeps_questions_with_a_rationale() -> None:
    rationale = Rationale("t1", {"recall": {"": "r."}, "analyze": {"B": "b.", "A": "a."}})
    other = Question("t2", "Which sinks?", {"A": "a nail", "B": "a log"}, "A")
    assert join([other, QUESTION], {"t1": rationale, "t3": rationale}) == [(QUESTION, rationale)]


@pytest.mark.parametrize("labels", ["A", "ABC", "AC"])
def test_join_names_differing_options(labels: str) -> None:
    rationale = Rationale("t1", {"recall": {"": "r."}, "analyze": dict.fromkeys(labels, "x.")})
    with pytest.raises(
        ValueError, match=r"question t1: its rationale has analyze texts for .*options are \['A', 'B'\]"
    ):
        join([QUESTION], {"t1": rationale})

"""TinyThinker's files: the public form, lossless both ways; what its own notebook leaves behind is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

import pytest

from litestage.config import DataSettings
from litestage.records import Question, Rationale
from litestage.text import benchmarks
from litestage.text.rationales import tinythinker
from litestage.text.rationales.tinythinker import held_out, read, write

HEAD = "Which floats?\n(A) a nail, rusty (B) a log\nRecall:"
QUESTION = Question("t1", "Which floats?", {"A": "a nail, rusty", "B": "a log"}, "B")
RATIONALE = Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": {"A": "iron sinks.", "B": "wood floats."}})
OTHER = Question("t2", "Which sinks?", {"A": "a nail", "B": "a log"}, "A")
SPLITS = {"train": [QUESTION], "validation": [OTHER], "test": []}
ODD = [", ", ". ", "\n", "\t", " ", '"', "\\", "{0}", "é", "漢", "🙂", "\u2028", "\ud800", "(A) ", "B. ", "A"]
ODD += ["\nRecall:", "\nRecall: ", "Analyze: For option A,", " For option B, ", "\nSummarize:", "Options: ", "x", "y"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "sft", SPLITS, {"t1": [RATIONALE], "t2": [RATIONALE]})
    return tmp_path / "sft"


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((folder / f"{name}.json").read_text())


def change(folder: Path, name: str, make: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of a file in place."""
    found = rows(folder, name)
    make(found)
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_the_files_have_the_public_form(folder: Path) -> None:
    def base(prompt: str) -> dict[str, str]:
        return {"id": "t1", "input": prompt, "GT": "B"}

    analyze = f"{HEAD} Wood floats.\nAnalyze:"
    assert rows(folder, "recall") == [{**base(HEAD), "recall": "Wood floats."}]
    assert rows(folder, "analyze") == [
        {**base(f"{analyze} For option A,"), "analyze": "iron sinks."},
        {**base(f"{analyze} For option B,"), "analyze": "wood floats."},
    ]
    whole = f"{analyze} For option A, iron sinks. For option B, wood floats.\nSummarize:"
    assert rows(folder, "summarize") == [{**base(whole), "summarize": "So the answer is option B."}]
    assert rows(folder, "valid") == [
        {"id": "t2", "input": "Which sinks?\n(A) a nail (B) a log\nRecall:", "GT": "A"},
    ]
    assert rows(folder, "test") == []


def odd(draw: Random, used: set[str]) -> str:
    """A text of odd pieces, stripped, that was not made before."""
    while not (made := "".join(draw.choices(ODD, k=draw.randint(1, 6))).strip()) or made in used:
        pass
    used.add(made)
    return made


@pytest.mark.parametrize("seed", range(30))
def test_round_trip_is_lossless(tmp_path: Path, seed: int) -> None:
    draw, used = Random(seed), set()
    asked, written = [], {}
    for number in range(6):
        labels = ascii_uppercase[: draw.choice([2, 3, 5, 26])]
        options = {label: odd(draw, used) for label in labels}
        asked.append(Question(f"q{number} {odd(draw, used)}", odd(draw, used), options, draw.choice(labels)))
        recalls = [odd(draw, used) for _ in range(2)]
        written[asked[-1].id] = [
            Rationale(
                asked[-1].id,
                {"recall": {"": draw.choice(recalls)}, "analyze": {label: odd(draw, used) for label in labels}},
            )
            for _ in range(draw.randint(1, 4))
        ]
        if draw.random() < 0.5:  # the same rationale twice stays twice
            written[asked[-1].id].append(written[asked[-1].id][0])
    twin = Question("twin", asked[0].text, asked[0].options, asked[0].answer)
    written["twin"] = [Rationale("twin", written[asked[0].id][0].texts)]
    held = [Question(f"h{number}", odd(draw, used), {"A": "1", "B": "2"}, "A") for number in range(3)]
    splits = {"train": [*asked, twin], "validation": held[:2], "test": held[2:]}
    assert write(tmp_path, splits, written) == sum(map(len, written.values()))
    everyone = [*held, *asked, twin]
    found = read(tmp_path, everyone)
    assert found == written
    assert list(found) == list(written)
    assert held_out(tmp_path, everyone) == {"validation": held[:2], "test": held[2:]}


def without_ids(folder: Path) -> None:
    for path in folder.glob("*.json"):
        change(folder, path.stem, lambda found: [row.pop("id") for row in found])


def torn(folder: Path) -> None:
    """As the notebook writes it: no ids, and options split at ", "."""
    without_ids(folder)
    for path in folder.glob("*.json"):
        path.write_text(path.read_text().replace("(A) a nail, rusty", "(A) a nail (r) ty"))


def gold_first(folder: Path) -> None:
    """As its prompt asks the teacher: the gold option's text first."""
    before, after = (
        "For option A, iron sinks. For option B, wood floats.",
        "For option B, wood floats. For option A, iron",
    )
    change(
        folder, "summarize", lambda found: found[0].update(input=found[0]["input"].replace(before, f"{after} sinks."))
    )


def blanks(folder: Path) -> None:
    """Question texts of the original files may end in blanks."""
    without_ids(folder)
    for path in folder.glob("*.json"):
        path.write_text(path.read_text().replace("floats?\\n", "floats?  \\n"))


@pytest.mark.parametrize("as_found", [without_ids, torn, gold_first, blanks])
def test_what_the_notebook_writes_is_read(folder: Path, as_found: Callable[[Path], None]) -> None:
    as_found(folder)
    assert read(folder, [OTHER, QUESTION]) == {"t1": [RATIONALE]}


def test_rows_that_the_notebook_drops_as_repeated_are_not_missed(folder: Path, tmp_path: Path) -> None:
    second = Rationale("t1", {"recall": {"": "Wood floats."}, "analyze": {"A": "iron sinks.", "B": "a log is wood."}})
    write(tmp_path / "two", SPLITS, {"t1": [RATIONALE, second]})
    change(tmp_path / "two", "recall", lambda found: found.pop())
    change(tmp_path / "two", "analyze", lambda found: found.pop(2))
    assert read(tmp_path / "two", [QUESTION]) == {"t1": [RATIONALE, second]}


def test_questions_alike_are_told_apart_by_the_gold_label(folder: Path) -> None:
    without_ids(folder)
    twin = Question("t0", QUESTION.text, QUESTION.options, "A")
    assert list(read(folder, [twin, QUESTION])) == ["t1"]


def test_another_gold_label_or_a_missing_option_leaves_a_rationale_out(folder: Path) -> None:
    change(folder, "summarize", lambda found: found.append({**found[0], "GT": "A"}))
    change(
        folder, "summarize", lambda found: found.append({**found[0], "input": found[0]["input"].replace("A,", "B,")})
    )
    message = r"2 of 3 rationales are left out, first .*summarize\.json row 2: GT is 'A', the gold label 'B'"
    with pytest.warns(UserWarning, match=message):
        assert read(folder, [QUESTION]) == {"t1": [RATIONALE]}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("recall", {"input": 3}, r"recall\.json row 2: field 'input': value 3; expected the question with its options"),
        ("recall", {"input": "What?\n(A) x\nRecall:"}, r"expected to begin with the text and options of a known"),
        ("recall", {"input": HEAD, "id": "t9"}, r"of a known question and id 't9'"),
        ("recall", {"input": HEAD, "recall": ""}, r"field 'recall': value ''; expected a text that is not empty"),
        (
            "analyze",
            {"input": f"{HEAD} x\nAnalyze: For option Z,", "analyze": "x"},
            r"analyze\.json row 3: field 'input'",
        ),
        ("analyze", {"input": f"{HEAD} x", "analyze": "x"}, r"to end with a recall and 'Analyze: For option A,'"),
    ],
)
def test_a_bad_row_is_named(folder: Path, name: str, row: dict[str, Any], message: str) -> None:
    change(folder, name, lambda found: found.append(row))
    with pytest.raises(ValueError, match=message):
        read(folder, [QUESTION])


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\['recall\.json', 'analyze\.json', 'summarize\.json'\] missing"):
        read(tmp_path, [QUESTION])
    with pytest.raises(FileNotFoundError, match=r"\['valid\.json', 'test\.json'\] missing"):
        held_out(tmp_path, [QUESTION])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"think": {"": "so."}},
            r"texts for \{'think': \[''\]\}; TinyThinker's files hold a recall, an analyze text for",
        ),
        ({**RATIONALE.texts, "plan": {"": "x."}}, "and nothing else"),
        ({"recall": {"": "x."}, "analyze": {"A": "x."}}, r"an analyze text for each of \['A', 'B'\]"),
        ({"recall": {"": " x."}, "analyze": {"A": "x.", "B": "y."}}, "cannot be told apart"),
    ],
)
def test_what_the_files_cannot_hold_is_refused(tmp_path: Path, texts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "sft", SPLITS, {"t1": [Rationale("t1", texts)]})
    assert not (tmp_path / "sft").exists()


def test_writing_needs_training_questions_and_an_empty_place(folder: Path) -> None:
    with pytest.raises(ValueError, match="none of the 1 rationales is of one of the 1 training questions"):
        write(folder, SPLITS, {"t2": [RATIONALE]})
    with pytest.raises(FileExistsError, match=r"has \['recall\.json', .* already; name another folder"):
        write(folder, SPLITS, {"t1": [RATIONALE]})
    with pytest.raises(ValueError, match="question t1: no gold label"):
        write(folder / "new", {**SPLITS, "train": [Question("t1", "Q?", QUESTION.options)]}, {"t1": [RATIONALE]})


def test_data_rationales_takes_the_folder(folder: Path, tmp_path: Path) -> None:
    lines = [
        {"id": q.id, "question": q.text, "options": dict(q.options), "answer": q.answer, "split": split}
        for q, split in [(QUESTION, "train"), (OTHER, "validation"), (Question("t3", "?", OTHER.options, "A"), "test")]
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = DataSettings(benchmark=str(tmp_path / "q.jsonl"), rationales=str(folder))
    assert benchmarks.load(settings, seed=0).train == ((QUESTION, RATIONALE),)
    assert tinythinker.FILES == ("recall", "analyze", "summarize")

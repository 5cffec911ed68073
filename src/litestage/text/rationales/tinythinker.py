"""TinyThinker's own files (Piao and Park, arXiv 2412.08024) as rationales, and rationales as its files.

The form is the one that "datasets/Prompt Engineering.ipynb" of https://github.com/shengminp/TinyThinker writes to
`final/sft/recall_analyze_summarize/`: five JSON lists of objects with `input`, `GT` and the stage's text. The files
themselves are not published. A row there has no id, so it is joined to its question by the text that `input` begins
with; rows written here have an `id` besides, a column that its training drops as it drops `GT`. Its notebook splits
options at ", ", which tears some apart; such rows are recognised by doing the same to the known options. Nothing is
ever parsed out of a text. Assumed: `valid.json` and `test.json` hold the input of the first stage and `GT`; the cell
that makes them reads a field that no other cell writes.

    write(Path("final/sft/recall_analyze_summarize"), splits, written)
    written = read(Path("final/sft/recall_analyze_summarize"), questions)
"""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from litestage.records import Question, Rationale
from litestage.text.jsonl import bad, listed, text
from litestage.text.rationales.form import Written

FILES = ("recall", "analyze", "summarize")
"""Files of training rows, named like the stage and its field."""
HELD_OUT = {"validation": "valid", "test": "test"}
"""Split -> the file of its questions."""
ANALYZED = re.compile(r" (.*)\nAnalyze: For option ([A-Z]),", re.DOTALL)
"""What follows "Recall:" in an input of `analyze.json`."""

Row = tuple[str, dict[str, Any]]
"""Where a row stands, and the row."""
Rows = Mapping[str, Iterable[Row]]


def read(folder: Path, questions: Sequence[Question]) -> Written:
    """The rationales of a folder, in the order of `summarize.json`.

    Rows whose `GT` is not the question's gold label (TinyThinker follows its teacher where that outvotes the label),
    and those that lack an option's text, are left out; a warning counts them.

    Args:
        folder: it holds `recall.json`, `analyze.json` and `summarize.json`.
        questions: the questions the files are about, of all splits.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a row is wrong, or belongs to none of the questions.
    """
    _require(folder, FILES)
    found, left_out = _assembled({name: listed(folder / f"{name}.json") for name in FILES}, _Finder(questions))
    if left_out:
        warnings.warn(
            f"{folder}: {len(left_out)} of {len(left_out) + sum(map(len, found.values()))} rationales are left out, "
            f"first {left_out[0]}",
            stacklevel=2,
        )
    return found


def held_out(folder: Path, questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Split -> the questions of `valid.json` and `test.json`. Raises as `read`."""
    _require(folder, HELD_OUT.values())
    finder = _Finder(questions)
    return {
        split: [finder.find(row, where)[0] for where, row in listed(folder / f"{name}.json")]
        for split, name in HELD_OUT.items()
    }


def write(folder: Path, splits: Mapping[str, Sequence[Question]], written: Written) -> int:
    """Write the five files; `read` gives back what was written. TinyThinker also drops repeated rows, this does not.

    Args:
        folder: made when it is not there.
        splits: `train`, `validation` and `test`. Only rationales of training questions are written: the others would
            show TinyThinker what it is tested on.
        written: rationales with the stages recall and analyze, and an analyze text for each option.

    Returns:
        Number of rationales written.

    Raises:
        FileExistsError: the folder has such a file already.
        ValueError: a rationale has other stages or options, or no training question has a rationale.
    """
    train = {question.id: question for question in splits["train"]}
    kept = {id_: list(made) for id_, made in written.items() if id_ in train and made}
    if not kept:
        raise ValueError(f"none of the {len(written)} rationales is of one of the {len(train)} training questions")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FILES}
    for id_, made in kept.items():
        for rationale in made:
            for name, row in _rows(train[id_], rationale):
                rows[name].append(row)
    for split, name in HELD_OUT.items():
        rows[name] = [_base(question, f"{_shown(question)}\nRecall:") for question in splits[split]]
    again, _ = _assembled({name: [(name, row) for row in rows[name]] for name in FILES}, _Finder(splits["train"]))
    for id_, made in kept.items():
        if again.get(id_) != made:
            raise ValueError(f"question {id_}: its rationales cannot be told apart in TinyThinker's files; reword one")
    folder.mkdir(parents=True, exist_ok=True)
    there = [f"{name}.json" for name in rows if (folder / f"{name}.json").exists()]
    if there:
        raise FileExistsError(f"{folder}: has {there} already; name another folder or move them away")
    for name, listed_rows in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(listed_rows), encoding="utf-8")
    return sum(map(len, kept.values()))


class _Finder:
    """Questions by the text that a row's input begins with."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.named: defaultdict[str, list[Question]] = defaultdict(list)
        for question in questions:
            for shown in dict.fromkeys(map(_blanks, (_shown(question), _torn(question)))):
                self.named[shown].append(question)

    def find(self, row: Mapping[str, Any], where: str) -> tuple[Question, str]:
        """The question of a row, and what its input has after "Recall:". Of questions alike: the one `GT` fits."""
        given = row.get("input")
        if not isinstance(given, str):
            raise bad(where, "input", given, "the question with its options, and 'Recall:'")
        for match in re.finditer("\nRecall:", given):
            alike = self.named.get(_blanks(given[: match.start()]), [])
            if "id" in row:
                alike = [question for question in alike if question.id == row["id"]]
            if alike:
                first = next((question for question in alike if question.answer == row.get("GT")), alike[0])
                return first, given[match.end() :]
        named = f" and id {row['id']!r}" if "id" in row else ""
        raise bad(where, "input", given, f"to begin with the text and options of a known question{named}")


def _assembled(rows: Rows, finder: _Finder) -> tuple[Written, list[str]]:
    """The rationales of the training rows, and why others are left out."""
    recalls: defaultdict[str, dict[str, None]] = defaultdict(dict)
    texts: defaultdict[tuple[str, str], defaultdict[str, dict[str, None]]]
    texts = defaultdict(lambda: defaultdict(dict))  # (id, recall) -> label -> its texts; dicts keep the order
    for where, row in rows["recall"]:
        recalls[finder.find(row, where)[0].id][text(row, "recall", where)] = None
    for where, row in rows["analyze"]:
        question, rest = finder.find(row, where)
        match = ANALYZED.fullmatch(rest)
        if match is None or match[2] not in question.options:
            raise bad(where, "input", row["input"], "to end with a recall and 'Analyze: For option A,' or another one")
        texts[question.id, match[1].strip()][match[2]][text(row, "analyze", where)] = None
    found: Written = {}
    left_out = []
    for where, row in rows["summarize"]:
        question, rest = finder.find(row, where)
        if question.answer not in (None, row.get("GT")):
            left_out.append(f"{where}: GT is {row.get('GT')!r}, the gold label {question.answer!r}")
            continue
        said = next(_readings(rest, recalls[question.id], texts, question), None)
        if said is None:
            left_out.append(f"{where}: recall.json and analyze.json have no such texts for all options")
            continue
        recall, analyzed = said
        stages = {"recall": {"": recall}, "analyze": {label: analyzed[label] for label in question.options}}
        found.setdefault(question.id, []).append(Rationale(question.id, stages, where))
    return found, left_out


def _readings(
    rest: str, recalls: Iterable[str], texts: Mapping[tuple[str, str], Mapping[str, Iterable[str]]], question: Question
) -> Iterator[tuple[str, dict[str, str]]]:
    """Every recall with one known text an option that, joined, gives the rest of a summarize input."""
    for recall in recalls:
        head, tail = f" {recall}\nAnalyze: ", "\nSummarize:"
        ways = texts.get((question.id, recall), {})
        if rest.startswith(head) and rest.endswith(tail) and set(ways) == set(question.options):
            for said in _walk(rest[len(head) : -len(tail)], ways):
                yield recall, said


def _walk(block: str, ways: Mapping[str, Iterable[str]]) -> Iterator[dict[str, str]]:
    """Every choice of a text for each label that gives the block, in whatever order: the gold option may come first."""
    if not ways:
        if not block:
            yield {}
        return
    for label, known in ways.items():
        if not block.startswith(f"For option {label}, "):
            continue
        for said in known:
            piece = f"For option {label}, {said}" + (" " if len(ways) > 1 else "")
            if block.startswith(piece):
                left = {other: way for other, way in ways.items() if other != label}
                yield from ({label: said, **rest} for rest in _walk(block[len(piece) :], left))


def _rows(question: Question, rationale: Rationale) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, row) of all training rows of one rationale."""
    recall, analyzed = rationale.texts.get("recall", {}), rationale.texts.get("analyze", {})
    if set(rationale.texts) != {"recall", "analyze"} or set(recall) != {""} or set(analyzed) != set(question.options):
        stages = {name: sorted(texts) for name, texts in rationale.texts.items()}
        raise ValueError(
            f"{rationale.where or f'question {question.id}'}: texts for {stages}; "
            f"TinyThinker's files hold a recall, an analyze text for each of {list(question.options)}, and nothing else"
        )
    if question.answer is None:
        raise ValueError(f"question {question.id}: no gold label; TinyThinker's files need one in every row")
    shown = f"{_shown(question)}\nRecall:"
    yield "recall", _base(question, shown, recall=recall[""])
    for label in question.options:
        prompt = f"{shown} {recall['']}\nAnalyze: For option {label},"
        yield "analyze", _base(question, prompt, analyze=analyzed[label])
    joined = " ".join(f"For option {label}, {analyzed[label]}" for label in question.options)
    prompt = f"{shown} {recall['']}\nAnalyze: {joined}\nSummarize:"
    yield "summarize", _base(question, prompt, summarize=f"So the answer is option {question.answer}.")


def _base(question: Question, prompt: str, **said: str) -> dict[str, Any]:
    return {"id": question.id, "input": prompt, "GT": question.answer, **said}


def _shown(question: Question) -> str:
    return question.text + "\n" + " ".join(f"({label}) {option}" for label, option in question.options.items())


def _torn(question: Question) -> str:
    """The question as TinyThinker's notebook shows it; it differs where an option has a comma."""
    pieces = ", ".join(f"{label}. {option}" for label, option in question.options.items()).split(", ")
    return question.text + "\n" + " ".join(f"({piece[:1]}) {piece[3:]}" for piece in pieces)


def _blanks(shown: str) -> str:
    return " ".join(shown.split())


def _require(folder: Path, names: Iterable[str]) -> None:
    missing = [f"{name}.json" for name in names if not (folder / f"{name}.json").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder}: {missing} missing; expected TinyThinker's files, as in {PAGE}")


PAGE = "final/sft/recall_analyze_summarize of https://github.com/shengminp/TinyThinker"

"""Check a file of rationales, line by line, before hours of training depend on it.

python -m litestage.text.rationales check mine.jsonl
python -m litestage.text.rationales check mine.jsonl --questions questions.jsonl --stages recall,analyze
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from litestage.records import Question
from litestage.text.benchmarks import own
from litestage.text.jsonl import attempts
from litestage.text.rationales.form import Labels, faults


def main(argv: Sequence[str] | None = None) -> None:
    """Print all problems and what is covered; status 1 if there are problems, 2 if a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m litestage.text.rationales", description="Look at rationales.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="list every problem of a file, and how many questions it covers")
    command.add_argument("file", type=Path, help="rationales, one JSON object a line")
    command.add_argument("--questions", type=Path, help="the questions they are about, as for data.benchmark")
    command.add_argument("--stages", default="recall,analyze", help="stages each rationale must have (%(default)s)")
    given = parser.parse_args(argv)
    try:
        splits = {} if given.questions is None else own.grouped(given.questions)
        labels = {question.id: list(question.options) for split in splits.values() for question in split}
        if not given.file.is_file():
            raise FileNotFoundError(f"{given.file}: no such file; expected JSON lines with id and {given.stages}")
        stages = [name for name in given.stages.split(",") if name]
        problems, rationales = check(given.file, labels if given.questions else None, stages)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for problem in problems:
        print(problem)
    print(f"problems: {len(problems)}; sound rationales: {rationales.total()}, for {len(rationales)} questions")
    for line in coverage(rationales, splits):
        print(line)
    sys.exit(1 if problems else 0)


def check(path: Path, known: Labels | None, stages: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Every problem of the file, and question id -> how many rationales without a problem it has."""
    problems: list[str] = []
    rationales: Counter[str] = Counter()
    for where, row in attempts(path):
        found = [row] if isinstance(row, ValueError) else list(faults(row, where, known, stages))
        problems += map(str, found)
        if not found and isinstance(row, dict):
            rationales[row["id"].strip()] += 1
    if not problems and not rationales:
        problems.append(f"{path}: no rationale in it; expected JSON lines")
    return problems, rationales


def coverage(rationales: Counter[str], splits: dict[str, list[Question]]) -> list[str]:
    """One line a split: how many of its questions have a rationale."""
    lines = []
    for split, questions in splits.items():
        covered = sum(question.id in rationales for question in questions)
        rest = f"{len(questions) - covered} not" if split in ("train", own.DRAWN) else "none needed"
        lines.append(f"{split or 'questions'}: {covered} of {len(questions)} covered, {rest}")
    return lines


if __name__ == "__main__":
    main()

"""Check rationales, line by line, before hours of training depend on them; turn them into TinyThinker's files and back.

python -m litestage.text.rationales check mine.jsonl
python -m litestage.text.rationales check mine.jsonl --questions questions.jsonl --stages recall,analyze
python -m litestage.text.rationales convert mine.jsonl tinythinker/ --questions questions.jsonl
python -m litestage.text.rationales convert final/sft/recall_analyze_summarize mine.jsonl --questions obqa
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from litestage.config import DataSettings
from litestage.records import Question
from litestage.text import benchmarks, rationales
from litestage.text.benchmarks import own
from litestage.text.jsonl import attempts
from litestage.text.rationales import tinythinker
from litestage.text.rationales.form import Written, faults, row

Splits = Mapping[str, Sequence[Question]]


def main(argv: Sequence[str] | None = None) -> None:
    """Print what was found or done; status 1 if there are problems, 2 if something cannot be read or written."""
    given = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings(record=True, action="always") as caught:
            lines, status = check(given) if given.command == "check" else (convert(given), 0)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for line in [*(f"warning: {warning.message}" for warning in caught), *lines]:
        print(line)
    sys.exit(status)


def check(given: argparse.Namespace) -> tuple[list[str], int]:
    """Every problem, and how many questions of each split are covered; then the status."""
    splits = {} if given.questions is None else _grouped(given)
    questions = None if given.questions is None else [question for split in splits.values() for question in split]
    if not given.file.exists():
        raise FileNotFoundError(f"{given.file}: no such file; expected JSON lines with id and {given.stages}")
    if given.file.is_dir():
        written = rationales.read(given.file, questions)
        problems: list[str] = []
        found = Counter({id_: len(made) for id_, made in written.items()})
    else:
        problems, found = _checked(given.file, questions, [name for name in given.stages.split(",") if name])
    lines = [*problems, f"problems: {len(problems)}; sound rationales: {found.total()}, for {len(found)} questions"]
    return [*lines, *coverage(found, splits)], 1 if problems else 0


def convert(given: argparse.Namespace) -> list[str]:
    """A JSONL file becomes a folder of TinyThinker's files, and the other way round."""
    to_folder = not given.target.name.endswith(own.SUFFIXES[0])
    if given.origin.is_dir() == to_folder:
        raise ValueError(
            f"{given.origin} to {given.target}: expected a .jsonl file and a folder with TinyThinker's "
            "files, in either order"
        )
    splits = _splits(given)
    questions = [question for split in splits.values() for question in split]
    written = rationales.read(given.origin, questions)
    total = sum(map(len, written.values()))
    if to_folder:
        count = tinythinker.write(given.target, splits, written)
        return [f"wrote {count} of {total} rationales; the others are not of training questions"]
    _write_lines(given.target, written)
    lines = [f"wrote {total} rationales of {len(written)} questions"]
    if all((given.origin / f"{name}.json").is_file() for name in tinythinker.HELD_OUT.values()):
        of = {question.id: split for split, those in splits.items() for question in those}
        for split, held in tinythinker.held_out(given.origin, questions).items():
            counts = Counter(of[question.id] for question in held)
            lines.append(f"its {split} questions are here: " + ", ".join(f"{name} {counts[name]}" for name in splits))
    return lines


def coverage(found: Counter[str], splits: Splits) -> list[str]:
    """One line a split: how many of its questions have a rationale."""
    lines = []
    for split, questions in splits.items():
        covered = sum(question.id in found for question in questions)
        rest = f"{len(questions) - covered} not" if split in ("train", own.DRAWN) else "none needed"
        lines.append(f"{split or 'questions'}: {covered} of {len(questions)} covered, {rest}")
    return lines


def _checked(path: Path, questions: Sequence[Question] | None, stages: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Every problem of the file, and question id -> how many rationales without a problem it has."""
    known = None if questions is None else {question.id: list(question.options) for question in questions}
    problems: list[str] = []
    sound: Counter[str] = Counter()
    for where, line in attempts(path):
        found = [line] if isinstance(line, ValueError) else list(faults(line, where, known, stages))
        problems += map(str, found)
        if not found and isinstance(line, dict):
            sound[line["id"].strip()] += 1
    if not problems and not sound:
        problems.append(f"{path}: no rationale in it; expected JSON lines")
    return problems, sound


def _write_lines(target: Path, written: Written) -> None:
    if target.exists():
        raise FileExistsError(f"{target} exists already; name another file or move it away")
    lines = (json.dumps(row(rationale), ensure_ascii=False) + "\n" for made in written.values() for rationale in made)
    target.write_text("".join(lines), encoding="utf-8")


def _splits(given: argparse.Namespace) -> Splits:
    settings = DataSettings(benchmark=given.questions, source=given.source)
    return benchmarks.read(settings.benchmark, settings.source, given.seed)


def _grouped(given: argparse.Namespace) -> Splits:
    """As `_splits`, but a file of questions need not have all splits, and is not dealt out."""
    return own.grouped(given.questions) if given.questions.endswith(own.SUFFIXES) else _splits(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m litestage.text.rationales", description="Look at rationales.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="list every problem, and how many questions are covered")
    command.add_argument(
        "file", type=Path, help="rationales, one JSON object a line, or a folder of TinyThinker's files"
    )
    command.add_argument("--stages", default="recall,analyze", help="stages each rationale must have (%(default)s)")
    _add_questions(command, required=False)
    command = commands.add_parser("convert", help="JSON lines to TinyThinker's files, or back")
    command.add_argument("origin", metavar="FROM", type=Path, help="what to read")
    command.add_argument("target", metavar="TO", type=Path, help="what to write: a .jsonl file, or else a folder")
    _add_questions(command, required=True)
    return parser


def _add_questions(command: argparse.ArgumentParser, required: bool) -> None:
    command.add_argument("--questions", required=required, help="what they are about, as for data.benchmark")
    command.add_argument("--source", help="where a published benchmark lies, as for data.source")
    command.add_argument("--seed", type=int, default=0, help="of splits that are drawn (%(default)s)")


if __name__ == "__main__":
    main()

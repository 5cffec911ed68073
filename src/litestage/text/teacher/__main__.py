"""Write rationales with a large model behind any OpenAI-compatible server.

export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none
python -m litestage.text.teacher questions.jsonl rationales.jsonl --model my-model --dry-run
python -m litestage.text.teacher obqa rationales.jsonl --model gpt-4o --price-in 2.5 --price-out 10
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from litestage.config import DataSettings
from litestage.records import Question
from litestage.text import benchmarks
from litestage.text.rationales.form import Written, row
from litestage.text.teacher import prompts
from litestage.text.teacher.costs import Prices, estimate, report
from litestage.text.teacher.slots import Form, Journal, Settings, Slot, slots_of
from litestage.text.teacher.spread import spread


def main(argv: Sequence[str] | None = None) -> None:
    """Estimate, ask, write, report; status 1 if there is no rationale, 2 after an error, 130 when interrupted."""
    given = _parser().parse_args(argv)
    try:
        status = run(given)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


def run(given: argparse.Namespace) -> int:
    """Do what the command line says; returns the status."""
    journal_path = _journal_path(given.target)
    told = prompts.load(given.prompts)
    settings = Settings(
        given.model, given.samples, given.retries, given.temperature, given.max_tokens, given.form, given.cap_field
    )
    journal = Journal(journal_path)
    slots = [slot for question in _questions(given) for slot in slots_of(question, settings, told, journal)]
    prices = Prices(given.price_in, given.price_out)
    for line in estimate(slots, told, prices):
        print(line, flush=True)
    if given.dry_run:
        return 0
    status, known = 0, len(journal.replies)
    try:
        _ask(given, slots, journal)
    except (ConnectionError, KeyboardInterrupt) as error:
        status = 2 if isinstance(error, ConnectionError) else 130
        print(f"stopped: {str(error) or 'interrupted'}", file=sys.stderr)
        print(f"{journal_path} has every reply; the same command goes on from there", file=sys.stderr)
    written = _written(slots, given.keep)
    _write(given.target, written)
    for line in report(slots, written, len(journal.replies) - known, prices):
        print(line)
    return status or (0 if written else 1)


def _ask(given: argparse.Namespace, slots: Sequence[Slot], journal: Journal) -> None:
    """Ask with a progress bar."""
    if find_spec("openai") is None:
        raise ValueError("the teacher needs the package openai: pip install 'litestage[teacher]'")
    from litestage.text.teacher.asking import Line, ask  # needs openai, which is an extra

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("asking", total=sum(slot.is_open for slot in slots))
        line = Line(given.concurrency, given.tries, given.timeout)
        ask(slots, journal, line, lambda slot: bar.advance(task))


def _questions(given: argparse.Namespace) -> Sequence[Question]:
    settings = DataSettings(benchmark=given.questions, source=given.source)
    return benchmarks.read(settings.benchmark, settings.source, given.seed)[given.split][: given.first]


def _journal_path(target: Path) -> Path:
    """Where the replies are kept. Refuses a target that this program did not write."""
    if not target.name.endswith(".jsonl"):
        raise ValueError(f"{target}: expected a name that ends in .jsonl")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: there is no folder {target.parent}; make it first")
    path = target.with_name(f"{target.name.removesuffix('.jsonl')}.journal.jsonl")
    if target.exists() and not path.exists():
        raise FileExistsError(f"{target} exists, but no {path.name} beside it; name another file or move it away")
    return path


def _written(slots: Sequence[Slot], keep: int) -> Written:
    """Question id -> the kept rationales."""
    sound: Written = {}
    for slot in slots:
        for reading in slot.readings:
            if reading.rationale is not None:
                sound.setdefault(slot.question.id, []).append(reading.rationale)
    return {id_: spread(made, keep) for id_, made in sound.items()}


def _write(target: Path, written: Written) -> None:
    """Put the file in its place at once, so that there is never half of it."""
    part = target.with_name(f"{target.name}.part")
    lines = (json.dumps(row(rationale), ensure_ascii=False) + "\n" for made in written.values() for rationale in made)
    part.write_text("".join(lines), encoding="utf-8", errors="replace")
    os.replace(part, target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m litestage.text.teacher",
        description="Write rationales with a large model. Address and key come from OPENAI_BASE_URL, OPENAI_API_KEY.",
    )
    add = parser.add_argument
    add("questions", help="what to ask about, as for data.benchmark")
    add("target", type=Path, help="the .jsonl file to write; a journal beside it keeps every reply")
    add("--model", required=True, help="the server's name of the model")
    add("--source", help="where a published benchmark lies, as for data.source")
    add("--split", default="train", choices=["train", "validation", "test"], help="which questions (%(default)s)")
    add("--seed", type=int, default=0, help="of splits that are drawn (%(default)s)")
    add("--first", type=_count, metavar="N", help="only the first N questions")
    add("--samples", type=_count, default=4, help="rationales asked for, a question (%(default)s)")
    add("--keep", type=_count, default=2, help="of those that agree, at most so many that differ most (%(default)s)")
    add("--retries", type=_number, default=2, help="how often each is asked again (%(default)s)")
    add("--temperature", type=float, default=0.8, help="(%(default)s)")
    add("--max-tokens", type=_count, default=512, help="cap of a reply, doubled when it cuts one off (%(default)s)")
    add("--cap-field", default="max_tokens", choices=["max_tokens", "max_completion_tokens"], help="(%(default)s)")
    add("--form", default="free", choices=get_args(Form), help="what the server holds replies to (%(default)s)")
    add("--prompts", type=Path, help="folder with system.txt, question.txt and examples.jsonl")
    add("--concurrency", type=_count, default=8, help="requests at a time (%(default)s)")
    add("--tries", type=_number, default=12, help="tries again after 429, 5xx and cut connections (%(default)s)")
    add("--timeout", type=float, default=120.0, help="seconds for one request (%(default)s)")
    add("--price-in", type=float, help="price of a million prompt tokens")
    add("--price-out", type=float, help="price of a million reply tokens")
    add("--dry-run", action="store_true", help="only estimate requests, tokens and cost")
    return parser


def _count(text: str) -> int:
    return _at_least(1, text)


def _number(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
    return int(text)


if __name__ == "__main__":
    main()

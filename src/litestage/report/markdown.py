"""Tables for pages that are committed: what stands between two comments is written from the runs' `results.json`.

`<!-- results: table miniworld -->` begins a table of one row a method (`full-table` has more columns),
`<!-- results: overview -->` one of one row a run, with links to their pages; `<!-- end of results -->` ends both.

    fill(Path("README.md"), Path("docs/results"))     # README.md's text with fresh tables
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from litestage.report.schema import read
from litestage.report.summary import skipped
from litestage.report.table import span
from litestage.report.words import FULL, NBSP, PLAN, PLAN_WITHOUT_EXIT, accuracy, ballots, percent, speed

Document = Mapping[str, Any]

BEGIN = re.compile(r"<!-- results: (.*?) -->")
END = "<!-- end of results -->"
KINDS = "'table RUN', 'full-table RUN', 'overview'"

COLUMNS: dict[str, Callable[[Document], str]] = {
    "accuracy % ± stderr": accuracy,
    "single pass %": lambda method: percent(method["single_pass_accuracy"]),
    "unparsed %": lambda method: percent(method["unparsed_rate"]),
    "tokens / question": lambda method: f"{sum(method['tokens_per_question'].values()):.1f}",
    "s / question": lambda method: f"{method['seconds_per_question']:.3g}",
    "ms / token": lambda method: f"{method['ms_per_token']:.3g}",
    "speed-up, median [low, high]": lambda method: speed(method["speedup"]),
    "skipped sub-layers: {stages}": skipped,
    "full layers, mean": lambda method: f"{method['mean_full_layers']:.2f}",
}
FULL_ONLY = ("single pass %", "unparsed %", "ms / token")
"""Columns that `table` leaves out."""


def fill(page: Path, folder: Path) -> str:
    """The text of a page with all its blocks written anew; the rest is as it was.

    Args:
        page: a Markdown file.
        folder: where the runs lie, each in a folder with its `results.json`.

    Raises:
        ValueError: a block is of no known kind, names no run, or does not end; names file and line.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    out: list[str] = []
    end = 0
    for number, line in enumerate(lines):
        begin = BEGIN.fullmatch(line)
        if begin is None:
            out += [line] if number >= end else []
            continue
        where = f"{page}:{number + 1}"
        if number < end:
            raise ValueError(f"{where}: a block begins inside another one; end that one with {END}")
        if END not in lines[number:]:
            raise ValueError(f"{where}: this block does not end; write {END} behind it")
        end = lines.index(END, number)
        out += [line, "", *_block(begin[1].split(), page, folder, where), ""]
    return "\n".join(out) + "\n"


def _block(words: list[str], page: Path, folder: Path, where: str) -> list[str]:
    match words:
        case ["overview"]:
            runs = sorted(path.parent for path in folder.glob("*/results.json"))
            return overview({os.path.relpath(run / "README.md", page.parent): _results(run) for run in runs})
        case ["table" | "full-table" as kind, name]:
            if not (folder / name / "results.json").is_file():
                there = ", ".join(sorted(path.parent.name for path in folder.glob("*/results.json")))
                raise ValueError(f"{where}: no run {name!r} in {folder}; there are: {there or 'none'}")
            return table(_results(folder / name), kind == "full-table")
    raise ValueError(f"{where}: no block {' '.join(words)!r}; a block is one of {KINDS}")


def _results(run: Path) -> dict[str, Any]:
    return read(run / "results.json", "results")


def table(results: Document, full: bool = False) -> list[str]:
    """One row a method, and below how it was measured; `full` has every column."""
    methods = results["methods"]
    chosen = {name: show for name, show in COLUMNS.items() if full or name not in FULL_ONLY}
    stages = " / ".join(methods[0]["budgets"])
    heads = ["method", *(name.format(stages=stages) for name in chosen)]
    rows = [[method["name"], *(show(method) for show in chosen.values())] for method in methods]
    return [*_rows(heads, rows, 1), "", measured(results)]


def measured(results: Document) -> str:
    """On what, and how, the numbers of a results document were measured."""
    methods, timing, where = results["methods"], results["timing"], results["environment"]
    return (
        f"n = {span(method['n'] for method in methods)} test questions, {ballots(methods)}. "
        f"Timed: {timing['questions']} of them, {timing['repeats']} paired repeats, "
        f"batch size {timing['batch_size']}, {where['device']}, {where['dtype']}, threads: {where['threads']}."
    )


def overview(runs: Mapping[str, Document]) -> list[str]:
    """One row a run: full depth, the plan, and the control of its timing. `runs`: link to its page -> results."""
    rows = []
    for link, results in runs.items():
        methods = {method["name"]: method for method in results["methods"]}
        own = methods.get(PLAN) or methods.get(PLAN_WITHOUT_EXIT)
        control = methods.get(results["timing"]["control"])
        rows.append(
            [
                f"[{results['run']}]({link})",
                results["model"],
                results["benchmark"],
                str(methods[FULL]["n"]),
                accuracy(methods[FULL]),
                accuracy(own) if own else "not run",
                speed(own["speedup"]) if own else "not run",
                speed(control["speedup"]) if control else "not run",
                f"{own['mean_full_layers']:.2f} of {results['num_sublayers'] // 2}" if own else "not run",
            ]
        )
    heads = ["run", "model", "questions", "n", "full depth, accuracy % ± stderr", "plan, accuracy % ± stderr"]
    heads += ["plan, speed-up [low, high]", "control [low, high]", "full layers skipped, mean"]
    return _rows(heads, rows, 3)


def _rows(heads: list[str], rows: Iterable[list[str]], texts: int) -> list[str]:
    """A Markdown table whose first `texts` columns stand left, the others right."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    escaped = [[cell.replace("|", "\\|").replace(NBSP, " ") for cell in row] for row in (heads, rule, *rows)]
    return [f"| {' | '.join(row)} |" for row in escaped]

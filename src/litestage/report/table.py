"""Results and search profiles as terminal tables.

An example:

    show(results_table(read(Path("checkpoints/miniworld/results.json"), "results")))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

MOST_ROWS = 40
"""Rows of an experiment that a terminal shows."""


def results_table(results: Mapping[str, Any]) -> Table:
    """One row a method of a results document (see `schemas/results.schema.json`)."""
    stages = list(results["methods"][0]["budgets"])
    title = f"{results['run']}: {results['benchmark']}, {results['model']} ({results['num_sublayers']} sub-layers)"
    table = Table(title=escape(title), caption=_caption(results), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", overflow="fold")
    for header in (
        "accuracy %\n± stderr",
        "single\npass %",
        "unparsed\n%",
        "s /\nquestion",
        "ms /\ntoken",
        "tokens /\nquestion",
        "speed-up\nmedian [low, high]",
        "skipped\nsub-layers\n" + " / ".join(stages),
        "skipped\nfull layers\n(mean)",
    ):
        table.add_column(escape(header), justify="right", overflow="fold")
    for method in results["methods"]:
        speedup = method["speedup"]
        table.add_row(
            escape(method["name"]),
            f"{100 * method['accuracy']:.1f} ± {100 * method['accuracy_stderr']:.1f}",
            f"{100 * method['single_pass_accuracy']:.1f}",
            f"{100 * method['unparsed_rate']:.1f}",
            f"{method['seconds_per_question']:.3g}",
            f"{method['ms_per_token']:.3g}",
            f"{sum(method['tokens_per_question'].values()):.1f}",
            escape(f"{speedup['median']:.2f} [{speedup['low']:.2f}, {speedup['high']:.2f}]"),
            " / ".join(str(method["budgets"][stage]) for stage in stages),
            f"{method['mean_full_layers']:.2f}",
        )
    return table


def search_table(profile: Mapping[str, Any]) -> Table:
    """One row a tried budget of a search profile, stage by stage; the chosen ones are marked."""
    full = profile["full_depth"]
    latency = sum(full["latency"].values())
    caption = f"full depth: accuracy {100 * full['accuracy']:.1f} %, {latency:.3g} s / question; n = {full['n']}"
    table = Table(
        title=f"search: target accuracy {100 * profile['target']:.1f} %", caption=caption, box=box.SIMPLE_HEAD
    )
    table.add_column("stage", no_wrap=True)
    headers = ("budget\nsub-layers", "budget\nfull layers", "exit\nbelow", "accuracy\n%", "latency\ns / question")
    for header in headers:
        table.add_column(header, justify="right")
    table.add_column("feasible")
    table.add_column("chosen")
    for stage in dict.fromkeys(trial["stage"] for trial in profile["trials"]):
        for trial in (t for t in profile["trials"] if t["stage"] == stage):
            gone = trial["stopped"]
            table.add_row(
                stage,
                str(trial["budget"]) + (" +prefill" if trial["prefill"] else ""),
                f"{trial['budget'] / 2:g}",
                "" if trial["exit"] is None else f"{trial['exit']:.2f}",
                f"{'at most ' if gone else ''}{100 * trial['accuracy']:.1f}",
                f"left after {trial['answered']}" if gone else f"{trial['latency']:.4g}",
                "yes" if trial["feasible"] else "no",
                "<- chosen" if trial["chosen"] else "",
                style="bold" if trial["chosen"] else None,
            )
        table.add_section()
    return table


def experiment_table(document: Mapping[str, Any]) -> Table:
    """The first `MOST_ROWS` rows of an experiment's table; columns that are empty in them are left out."""
    rows = document["rows"][:MOST_ROWS]
    names = [column["name"] for column in document["columns"]]
    names = [name for name in names if any(row[name] is not None for row in rows)]
    left = len(document["rows"]) - len(rows)
    caption = f"and {left} rows more in experiments/{document['name']}.csv. " if left else ""
    table = Table(title=escape(document["title"]), caption=caption + escape(" ".join(document["notes"])))
    table.box = box.SIMPLE_HEAD
    for name in names:
        table.add_column(escape(name.replace("_", "\n")), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_told(row[name])) for name in names))
    return table


def _told(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def show(table: Table, file: IO[str] | None = None) -> None:
    """Print a table; into a file or a pipe as wide as it needs, since nothing there has a width."""
    console = Console(file=file)
    if not console.is_terminal:
        console = Console(file=file, width=max(console.width, Console(width=1000).measure(table).maximum))
    console.print(table)


def span(values: Iterable[int]) -> str:
    """`5` when all values are 5, else `3 to 5`."""
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _caption(results: Mapping[str, Any]) -> str:
    timing, where = results["timing"], results["environment"]
    attempts = span(method["attempts"] for method in results["methods"])
    caption = (
        f"n = {span(method['n'] for method in results['methods'])} questions, attempts that vote: {attempts}, "
        f"seed {results['seed']}. Timed: {timing['questions']} questions, repeats: {timing['repeats']}, "
        f"batch size {timing['batch_size']}, {where['device']}, {where['dtype']}, threads: {where['threads']}. "
        "Speed-up is against full depth in the same process."
    )
    if timing["control"]:
        caption += f" '{timing['control']}' is full depth timed again: its distance from 1 is noise."
    return escape(f"{caption} {timing['note']}".strip())

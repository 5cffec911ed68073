"""What the scripts share: errors as messages, progress bars, a quiet terminal."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers.utils.logging import disable_progress_bar

from litestage.settings import Given, parse

Command = Callable[..., dict[str, Any] | None]
console = Console(stderr=True)


def command(step: Callable[[Given], dict[str, Any]]) -> Command:
    """Turn a step into a script's main: parse, run, print a JSON line; bad input ends with its message, status 2."""

    @wraps(step)
    def main(argv: Sequence[str] | None = None, *, default: Path) -> dict[str, Any]:
        quiet()
        try:
            summary = step(parse(argv, default))
        except (ValueError, FileNotFoundError, PermissionError, MisconfigurationException) as error:
            console.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
            sys.exit(2)
        if rank_zero_only.rank == 0:
            print(json.dumps(summary))
        return summary

    return main


def quiet() -> None:
    """Keep the terminal for our own progress: no tips, no weight-loading bars, no notes about other libraries."""
    disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        "isinstance.treespec",
        "Checkpoint directory",
        "The number of training batches",
        "does not have many workers",
    ):
        warnings.filterwarnings("ignore", f".*{message}")


@contextmanager
def progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=rank_zero_only.rank > 0) as bar:
        yield bar

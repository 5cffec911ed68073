"""What every experiment gives: a flat table, and which figures show it.

    result = Result("exit", "Early exit", "What does it save?", columns, rows, panels, n=400)
    result.document(bench.about())["rows"][0]["accuracy_percent"]

The table is the JSON and the CSV; the figures of `report/experiments.py` are drawn from the same document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT, VERSION = "litestage-experiment", 1

Row = Mapping[str, Any]
"""Column -> number, text, truth value or `None`."""


@dataclass(frozen=True)
class Panel:
    """One figure of some rows; everything but `kind`, `title` and `where` names columns.

    `lines`: `y` over a numeric `x`, joined in the order of the rows. `bars`: `y` over a categorical `x`, side by side.
    `map`: the colour is `value` at a numeric `x` and a categorical `y`. `text`: `y` is what was written, `value` the
    part that was cut off, `x` what each row is headed with.
    """

    kind: Literal["lines", "bars", "map", "text"]
    x: str
    y: str
    by: str = ""
    """The series."""
    value: str = ""
    error: tuple[str, ...] = ()
    """Of `y`: one column, to either side; or two, low and high."""
    x_error: tuple[str, ...] = ()
    title: str = ""
    where: Mapping[str, float | str | bool] = field(default_factory=dict)
    """Column -> value: the rows that are shown."""


@dataclass(frozen=True)
class Result:
    """What an experiment found."""

    name: str
    title: str
    question: str
    """What it answers."""
    columns: Mapping[str, str]
    """Column -> its title, with its unit."""
    rows: Sequence[Row]
    panels: Sequence[Panel]
    n: int
    """Questions behind each number."""
    split: Literal["test", "validation"] = "test"
    attempts: int = 1
    """Passes that vote on an answer; 1 is a greedy pass."""
    repeats: int = 0
    """Timings of each plan; 0 where nothing is timed."""
    notes: Sequence[str] = ()

    def document(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """The content of `experiments/NAME.json`.

        Args:
            about: run, model, num_sublayers, benchmark, seed, batch_size, environment.

        Raises:
            ValueError: a row has other columns than the table.
        """
        for number, row in enumerate(self.rows):
            if wrong := row.keys() ^ self.columns.keys():
                raise ValueError(f"{self.name}: row {number}: {sorted(wrong)} in the row or in the columns only")
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "title": self.title,
            "question": self.question,
            **about,
            "split": self.split,
            "n": self.n,
            "attempts": self.attempts,
            "repeats": self.repeats,
            "notes": list(self.notes),
            "columns": [{"name": name, "title": title} for name, title in self.columns.items()],
            "rows": [{name: row[name] for name in self.columns} for row in self.rows],
            "panels": [_plain(panel) for panel in self.panels],
        }


def _plain(panel: Panel) -> dict[str, Any]:
    made = asdict(panel)
    return {**made, "error": list(panel.error), "x_error": list(panel.x_error), "where": dict(panel.where)}

"""Append-only record of a search: what was generated outlives a crash, and is not generated again.

One JSON object a line, flushed to the disk before the search goes on. The first line says what the search was about
(model, data, engine, versions); a journal about something else is refused. Then follow facts that another run would
find slightly different (calibrated costs, rankings), outputs under the names that `reuse.key` gives them, and every
finished trial (for people; resuming needs facts and outputs only).

    journal = Journal(folder / "search.jsonl", about)
    reuse.outputs |= journal.outputs
    journal.add_outputs(reuse.drain())
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from litestage import sharing
from litestage.model.decode import Generated
from litestage.text import appended

FORMAT, VERSION = "litestage-journal", 1


class Journal:
    """A journal file, read back and open for appending.

    Args:
        path: the file; made when it is not there. Of several processes the first one reads and writes it.
        about: what the outputs depend on besides prompt and plan.

    Raises:
        ValueError: the file is about something else, or a line that is not the last one is damaged.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.write = path, sharing.rank() == 0
        self.outputs: dict[str, Generated] = {}
        self.facts: dict[str, Any] = {}
        self.trials: list[dict[str, Any]] = []
        refused = ""
        try:
            self._open(json.loads(json.dumps(about)))
        except ValueError as error:
            refused = str(error)
        known = sharing.first((refused, self.outputs, self.facts, self.trials))
        refused, self.outputs, self.facts, self.trials = known
        if refused:  # by the first process; all of them end with its reason
            raise ValueError(refused)

    def _open(self, about: Mapping[str, Any]) -> None:
        lines = appended.read(self.path) if self.write else []
        if lines:
            self._check(lines[0], about)
        for number, line in enumerate(lines[1:], 2):
            self._take(number, line)
        if not lines:
            self._append({"format": FORMAT, "version": VERSION, "about": about})

    def add_outputs(self, outputs: Mapping[str, Generated]) -> None:
        """Record what was generated."""
        if outputs:
            self._append({"outputs": {k: [o.tokens, o.stop, o.confidences] for k, o in outputs.items()}})

    def fact(self, name: str, find: Callable[[], Any]) -> Any:
        """A recorded fact (plain JSON), or what `find` returns in the first process, which is recorded then."""
        if name not in self.facts:
            self.facts[name] = sharing.first(json.loads(json.dumps(find())) if self.write else None)
            self._append({"fact": name, "value": self.facts[name]})
        return self.facts[name]

    def add_trial(self, trial: Mapping[str, Any]) -> None:
        """Record a finished trial, once."""
        plain = json.loads(json.dumps(trial))
        if plain not in self.trials:
            self.trials.append(plain)
            self._append({"trial": plain})

    def _append(self, record: Mapping[str, Any]) -> None:
        if self.write:
            appended.append(self.path, record)

    def _check(self, head: Any, about: Mapping[str, Any]) -> None:
        if not isinstance(head, Mapping) or (head.get("format"), head.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{self.path}: not a {FORMAT!r} file of version {VERSION}; {appended.ANEW}")
        was = head.get("about")
        if not isinstance(was, Mapping):
            raise ValueError(f"{self.path}: line 1 does not say what the journal is about; {appended.ANEW}")
        changed = [
            f"{k}: {was.get(k)!r} then, {about.get(k)!r} now" for k in {**was, **about} if was.get(k) != about.get(k)
        ]
        if changed:
            raise ValueError(
                f"{self.path} is the journal of another search: {'; '.join(changed)}. {appended.ANEW.capitalize()}"
            )

    def _take(self, number: int, line: Mapping[str, Any]) -> None:
        try:
            if "outputs" in line:
                self.outputs |= {k: Generated(*values) for k, values in line["outputs"].items()}
            elif "fact" in line:
                self.facts[line["fact"]] = line["value"]
            else:
                self.trials.append(line["trial"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path}: line {number} is damaged ({error!r}); {appended.ANEW}") from error

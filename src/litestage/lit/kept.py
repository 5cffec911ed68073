"""Finished batches of an evaluation, on the disk: one that was stopped goes on behind them.

kept = Kept(folder, about)      # what the batches depend on; another evaluation has another file
kept.open()
kept.get(questions)             # what was written about these questions, or None
kept.add(questions, {"timed": 4})
kept.remove()                   # the evaluation is finished: the next one measures anew
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litestage import sharing
from litestage.records import Attempt, Question, StageOutput
from litestage.text import appended

FORMAT, VERSION = "litestage-evaluation", 1


class Kept:
    """The batches of one evaluation. Every process has its own file.

    Args:
        folder: the run's folder.
        about: what answers and timings depend on besides the questions; it is part of the file's name, so batches of an
            evaluation of other methods, weights or settings are neither used nor lost.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)
        self._batches: dict[str, Any] = {}

    @property
    def path(self) -> Path:
        """The file of this process."""
        name = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"evaluate-{name}-{sharing.rank()}.jsonl"

    def open(self) -> int:
        """Read what is there; returns the number of batches.

        Raises:
            ValueError: the file is damaged, by more than a torn last line; names the line.
        """
        head = {"format": FORMAT, "version": VERSION, "about": self.about}
        lines = appended.read(self.path)
        if not lines:
            appended.append(self.path, head)
        elif lines[0] != json.loads(json.dumps(head)):
            raise ValueError(f"{self.path}: line 1 does not say what this evaluation is about; {appended.ANEW}")
        for number, line in enumerate(lines[1:], 2):
            if not isinstance(line, dict) or not {"questions", "batch"} <= line.keys():
                raise ValueError(f"{self.path}: line {number} is no batch of an evaluation; {appended.ANEW}")
            self._batches[line["questions"]] = line["batch"]
        return len(self._batches)

    def get(self, questions: Sequence[Question]) -> Any:
        """What was written about these questions, asked together; `None` where nothing was."""
        return self._batches.get(_named(questions))

    def add(self, questions: Sequence[Question], batch: Mapping[str, Any]) -> None:
        """Write a batch; it is on the disk when this returns."""
        appended.append(self.path, {"questions": _named(questions), "batch": batch})

    def remove(self) -> None:
        """Delete the file of this process."""
        self.path.unlink(missing_ok=True)


def _named(questions: Sequence[Question]) -> str:
    """Short SHA-256 of all that the questions say: one that was edited under its old id is another one."""
    plain = [[q.id, q.text, [*q.options.items()], q.answer] for q in questions]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def pack(attempt: Attempt) -> list[Any]:
    """An attempt as plain JSON, without its prompts."""
    outputs = [[o.stage, o.label, o.text, o.tokens, o.stop] for o in attempt.outputs]
    return [attempt.question_id, attempt.number, attempt.answer, outputs]


def unpack(plain: Sequence[Any]) -> Attempt:
    """Undo `pack`; prompts are empty."""
    question, number, answer, outputs = plain
    made = (StageOutput(stage, label, "", text, tokens, stop) for stage, label, text, tokens, stop in outputs)
    return Attempt(question, number, tuple(made), answer)

"""What is to be asked: each question has some slots, and a slot is asked until its reply agrees with the gold label.

Replies are kept under names made of everything they depend on. So a run that goes on finds each slot where the run
before left it, and another model, prompt or temperature asks anew.

    book = Journal(Path("rationales.journal.jsonl"))
    slots = [slot for question in questions for slot in slots_of(question, settings, prompts, book)]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from litestage.records import Question
from litestage.text import appended
from litestage.text.teacher.prompts import Message, Prompts, messages
from litestage.text.teacher.reply import Reading, Reply, read

FORMAT, VERSION = "litestage-teacher", 1

Form = Literal["free", "json", "schema"]
"""What the server is asked to hold replies to: nothing, any JSON object, or the very form."""


@dataclass(frozen=True)
class Settings:
    """How the teacher is asked."""

    model: str
    samples: int = 4
    """Slots a question."""
    retries: int = 2
    """How often a slot is asked again."""
    temperature: float = 0.8
    max_tokens: int = 512
    """Cap of a reply; it doubles after a reply that was cut off."""
    form: Form = "free"
    cap_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the cap."""


class Journal:
    """The replies so far, in an append-only file.

    Raises:
        ValueError: the file is another one, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replies: dict[str, Reply] = {}
        head, *lines = appended.read(path) or [{"format": FORMAT, "version": VERSION}]
        if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{path}: not a {FORMAT!r} file of version {VERSION}; {appended.ANEW}")
        for number, line in enumerate(lines, 2):
            try:
                self.replies[line["key"]] = Reply(**line["reply"])
            except (KeyError, TypeError) as error:
                raise ValueError(f"{path}: line {number} is damaged ({error!r}); {appended.ANEW}") from error

    def add(self, key: str, reply: Reply) -> None:
        """Record a reply; it is on the disk when this returns."""
        if not self.path.exists() or not self.path.stat().st_size:
            appended.append(self.path, {"format": FORMAT, "version": VERSION})
        appended.append(self.path, {"key": key, "reply": asdict(reply)})
        self.replies[key] = reply


@dataclass
class Slot:
    """One wanted rationale of a question."""

    question: Question
    number: int
    settings: Settings
    told: list[Message] = field(repr=False)
    replies: list[Reply] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    refused: str = ""
    """The server's words, when it does not take the question."""

    @property
    def is_open(self) -> bool:
        """Whether it should be asked (again)."""
        agreed = bool(self.readings) and self.readings[-1].outcome == "agreed"
        return not (agreed or self.refused or len(self.readings) > self.settings.retries)

    def request(self) -> dict[str, Any]:
        """The next request's body."""
        cut = sum(reading.outcome == "cut off" for reading in self.readings)
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": self.told,
            "temperature": self.settings.temperature,
            self.settings.cap_field: self.settings.max_tokens * 2**cut,
        }
        if self.settings.form == "json":
            body["response_format"] = {"type": "json_object"}
        elif self.settings.form == "schema":
            wanted = {"name": "rationale", "strict": True, "schema": _schema(self.question)}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return body

    def key(self) -> str:
        """Twenty hex digits that name the next request: sha256 of its body, the slot's number and the attempt."""
        named = json.dumps([self.request(), self.number, len(self.replies)], sort_keys=True)
        return sha256(named.encode()).hexdigest()[:20]

    def take(self, reply: Reply) -> None:
        """Go on to the next attempt, or to the end."""
        self.replies.append(reply)
        self.readings.append(read(reply, self.question))


def slots_of(question: Question, settings: Settings, prompts: Prompts, journal: Journal) -> Iterator[Slot]:
    """The slots of a question, as far as the journal knows them."""
    told = messages(prompts, question)
    for number in range(settings.samples):
        slot = Slot(question, number, settings, told)
        while slot.is_open and (known := journal.replies.get(slot.key())) is not None:
            slot.take(known)
        yield slot


def _schema(question: Question) -> Mapping[str, Any]:
    text = {"type": "string"}
    return _object(
        recall=text,
        analyze=_object(**dict.fromkeys(question.options, text)),
        answer={"type": "string", "enum": list(question.options)},
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

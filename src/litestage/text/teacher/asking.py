"""Asking the server: so many requests at a time, each tried again by the client, each reply in the journal at once.

The `openai` client itself waits and tries again after 408, 409, 429, 5xx and cut connections: twice as long each time
with some jitter, or as long as Retry-After says. Needs the extra `litestage[teacher]`.

    ask(slots, journal, Line(concurrency=8), done=print)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import openai

from litestage.text.teacher.reply import Reply
from litestage.text.teacher.slots import Journal, Slot

REFUSALS = 10
"""So many refused questions without one reply end the run: the request itself must be wrong."""
MESSAGE = 500
"""So many characters of a server's message are shown."""
LEAST_SECRET = 12
"""A key of fewer characters is a placeholder such as `none`, and may occur in a text."""


@dataclass(frozen=True)
class Line:
    """How the server is reached; address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""

    concurrency: int = 8
    """Requests at a time."""
    tries: int = 12
    """How often the client tries a failed request again."""
    timeout: float = 120.0
    """Seconds until a request counts as failed."""


def ask(slots: Sequence[Slot], journal: Journal, line: Line, done: Callable[[Slot], None]) -> None:
    """Ask the open slots until none is open; each is changed in place.

    Args:
        slots: all slots.
        journal: takes the replies.
        line: how the server is reached.
        done: called with each slot that is no longer open.

    Raises:
        ValueError: OPENAI_API_KEY is not set.
        ConnectionError: the server does not let us in, or failed too often.
    """
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key:
        raise ValueError("OPENAI_API_KEY is not set; a server of your own takes any word: OPENAI_API_KEY=none")
    asyncio.run(_Asker(slots, journal, line, done, key).run())


class _Asker:
    def __init__(
        self, slots: Sequence[Slot], journal: Journal, line: Line, done: Callable[[Slot], None], key: str
    ) -> None:
        self.waiting = iter([slot for slot in slots if slot.is_open])
        self.journal, self.line, self.done, self.key = journal, line, done, key
        self.refused, self.answered = 0, bool(journal.replies)

    async def run(self) -> None:
        async with openai.AsyncOpenAI(
            api_key=self.key, max_retries=self.line.tries, timeout=self.line.timeout
        ) as client:
            await asyncio.gather(*(self._work(client) for _ in range(self.line.concurrency)))

    async def _work(self, client: openai.AsyncOpenAI) -> None:
        for slot in self.waiting:  # shared: each worker takes the next one
            while slot.is_open:
                await self._next(client, slot)
            self.done(slot)

    async def _next(self, client: openai.AsyncOpenAI, slot: Slot) -> None:
        try:
            reply = await self._reply(client, slot)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            slot.refused = self._message(error)
            self.refused += 1
            if self.refused >= REFUSALS and not self.answered:
                raise ConnectionError(f"the server refuses every request: {slot.refused}") from None
            return
        except openai.OpenAIError as error:
            raise ConnectionError(self._message(error)) from None
        self.answered = True
        self.journal.add(slot.key(), reply)
        slot.take(reply)

    async def _reply(self, client: openai.AsyncOpenAI, slot: Slot) -> Reply:
        """One reply; a body that is no JSON, or has no choice in it, counts as an empty one."""
        try:
            made = await client.chat.completions.create(**slot.request())
        except ValueError:  # the body is no JSON
            return Reply("", "broken")
        choices = getattr(made, "choices", None)
        if not isinstance(choices, list) or not choices:
            return Reply("", "broken")
        text = getattr(getattr(choices[0], "message", None), "content", None)
        usage = getattr(made, "usage", None)
        counts = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
        return Reply(
            self._clean(text) if isinstance(text, str) else "",
            str(getattr(choices[0], "finish_reason", None) or "stop"),
            *(count if isinstance(count, int) else 0 for count in counts),
        )

    def _message(self, error: openai.OpenAIError) -> str:
        """What is known of a failure: the client's words, and its cause or the server's body where they lack it."""
        body = getattr(error, "body", None)
        more = error.__cause__ or (None if isinstance(body, dict) and "message" in body else body)
        return self._clean(f"{type(error).__name__}: {error}" + (f" ({more})" if more else ""))[:MESSAGE]

    def _clean(self, text: str) -> str:
        """The text without the key, should the server have put it there."""
        return text.replace(self.key, "[key]") if len(self.key) >= LEAST_SECRET else text

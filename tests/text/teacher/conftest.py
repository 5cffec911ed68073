"""A real HTTP server on loopback that answers as a script says: well, badly, late, or by hanging up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest

from litestage.records import Question

KEY = "sk-very-secret-0123456789"


@dataclass(frozen=True)
class Say:
    """What the server sends."""

    text: str = ""
    finish: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is, in place of a completion."""
    hang_up: bool = False
    """Close the connection in the middle of the body."""


Script = Callable[[dict[str, Any], int], Say]
"""From the asked question's data, and how many requests about it came before, to what the server sends."""


def good(data: dict[str, Any], number: int, answer: str = "B", **change: Any) -> str:
    """A well-formed reply, worded differently each time."""
    analyze = {label: f"text {number} on {option}." for label, option in data["options"].items()}
    return json.dumps(
        {"recall": f"Fact {number} of {data['question']}", "analyze": analyze, "answer": answer, **change}
    )


class Server(ThreadingHTTPServer):
    """Answers POST requests by its script, one thread a connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: Script = lambda data, number: Say(good(data, number))
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.asked: dict[str, int] = {}
        self.keys: set[str | None] = set()
        self.active = self.peak = 0
        self.gate: threading.Barrier | None = None
        """Requests wait here for each other before they are answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> Say:
        data = json.loads(body["messages"][-1]["content"].splitlines()[1])
        with self.lock:
            number = self.asked.get(data["question"], 0)
            self.asked[data["question"]] = number + 1
            self.bodies.append(body)
        return self.script(data, number)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.active += 1
            self.server.peak = max(self.server.peak, self.server.active)
            self.server.keys.add(self.headers["Authorization"])
        if self.server.gate is not None:
            self.server.gate.wait(timeout=10)
        said = self.server.answer(body)
        with self.server.lock:
            self.server.active -= 1
        content = said.body if said.body is not None else json.dumps(completion(said)).encode()
        self.send_response(said.status)
        for name, value in {"Content-Type": "application/json", **said.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if said.hang_up else content)
        self.close_connection = self.close_connection or said.hang_up

    def log_message(self, format: str, *args: object) -> None:
        pass


def completion(said: Say) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": said.text}, "finish_reason": said.finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, running, and the environment that leads to it."""
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", made.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds the client would have waited; it does not wait."""
    seconds: list[float] = []
    real = anyio.sleep

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        await real(0)

    monkeypatch.setattr(anyio, "sleep", sleep)
    return seconds


@pytest.fixture
def asked() -> list[Question]:
    """Three questions; B is right."""
    return [Question(f"t{i}", f"Which floats, {i}?", {"A": "a nail", "B": "a log, dry"}, "B") for i in range(3)]

"""Reading JSON lines that people wrote: every complaint names file, line, field, value and what is expected.

for where, row in rows(Path("train.jsonl")):
    id_ = text(row, "id", where)
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `("file:line", row)` for every line that is not blank; a name ending in `.gz` is unpacked.

    Raises:
        ValueError: a line is not a JSON object in UTF-8.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{where}: not a line of JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{where}: found {_short(row)}; expected one JSON object a line")
            yield where, row


def bad(where: str, field: str, value: object, expected: str) -> ValueError:
    """The error about one field."""
    return ValueError(f"{where}: field {field!r}: value {_short(value)}; expected {expected}")


def text(row: Mapping[str, Any], key: str, where: str, field: str = "") -> str:
    """The text under `key`, stripped; `field` is its full name for the error. Raises `ValueError` when it has none."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise bad(where, field or key, value, "a text that is not empty")
    return value.strip()


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."

"""Reading JSON that people wrote: every complaint names file, line, field, value and what is expected.

for where, row in rows(Path("train.jsonl")):
    id_ = text(row, "id", where)
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `("file:line", row)` for every line that is not blank; a name ending in `.gz` is unpacked.

    Raises:
        ValueError: a line is not a JSON object in UTF-8.
    """
    for where, row in attempts(path):
        if isinstance(row, ValueError):
            raise row
        yield where, row


def attempts(path: Path) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    """As `rows`, but a bad line gives its error, and reading goes on behind it."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", _row(line, f"{path}:{number}")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        yield f"{path}:{number}", ValueError(f"{path}: broken after line {number}, expected a gzip file: {error}")


def listed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `("file row 1", row)` and so on for a file that is one JSON list of objects.

    Raises:
        ValueError: the file is no such list in UTF-8.
    """
    found = _parsed(path.read_bytes(), str(path), "a JSON list")
    if not isinstance(found, list):
        raise ValueError(f"{path}: found {_short(found)}; expected a JSON list of objects")
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path} row {number}: found {_short(row)}; expected a JSON object")
        yield f"{path} row {number}", row


def bad(where: str, field: str, value: object, expected: str) -> ValueError:
    """The error about one field."""
    return ValueError(f"{where}: field {field!r}: value {_short(value)}; expected {expected}")


def text(row: Mapping[str, Any], key: str, where: str, field: str = "") -> str:
    """The text under `key`, stripped; `field` is its full name for the error. Raises `ValueError` when it has none."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise bad(where, field or key, value, "a text that is not empty")
    return value.strip()


def _row(line: bytes, where: str) -> dict[str, Any] | ValueError:
    try:
        row = _parsed(line, where, "a line of JSON")
    except ValueError as error:
        return error
    return (
        row if isinstance(row, dict) else ValueError(f"{where}: found {_short(row)}; expected one JSON object a line")
    )


def _parsed(data: bytes, where: str, expected: str) -> Any:
    """What the bytes hold; a byte order mark before them is ignored."""
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        byte = data[error.start : error.start + 1]
        raise ValueError(
            f"{where}: not {expected} in UTF-8: byte {byte!r} at position {error.start}; save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not {expected}: {error}") from error


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python itself would keep the last of two equal keys without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"field {next(key for key in keys if keys.count(key) > 1)!r} occurs twice in one object")
    return made


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."

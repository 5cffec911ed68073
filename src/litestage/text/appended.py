"""A file of JSON lines that only grows: each line is on the disk before the program goes on, so a crash loses none.

append(path, {"trial": 3})
read(path)  # every whole line; what a crash left of the last one is cut off
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ANEW = "move the file away to begin anew"


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line and wait until the disk has it."""
    with path.open("ab") as file:
        file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Any]:
    """What all whole lines hold, nothing when there is no file; a torn last line is cut off the file, with a warning.

    Raises:
        ValueError: another line is damaged.
    """
    content = path.read_bytes() if path.exists() else b""
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        warnings.warn(f"{path}: the last line is torn, {len(torn)} bytes are dropped", stacklevel=4)
        with path.open("r+b") as file:
            file.truncate(len(content) - len(torn))
    out = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
        try:
            out.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is damaged ({error}); {ANEW}") from error
    return out

"""Files that are there as a whole or not at all: written beside their place, then moved into it.

write_whole(folder / "report.html", text)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, parts: str | Iterable[str]) -> Path:
    """Write a text, or its parts one after the other, in UTF-8; a reader never sees half of it.

    Raises:
        PermissionError: the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.writelines([parts] if isinstance(parts, str) else parts)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path

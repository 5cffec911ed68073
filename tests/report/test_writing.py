"""A file is there as a whole or as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from litestage.report.writing import write_whole


def test_text_and_parts_are_written_and_replace_what_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.txt", "old")
    assert write_whole(path, ["né", "w\n"]) == path
    assert path.read_bytes() == "néw\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_what_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        yield "half"
        raise RuntimeError("power cut")

    path = write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError):
        write_whole(path, parts())
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a.txt", "a\ud800b").read_text() == "a?b"

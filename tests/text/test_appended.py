from __future__ import annotations

from pathlib import Path

import pytest

from litestage.text.appended import append, read


def test_lines_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert read(path) == []
    for number in range(3):
        append(path, {"number": number, "text": "ä\n\u2028"})
    assert read(path) == [{"number": number, "text": "ä\n\u2028"} for number in range(3)]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append(path, {"number": 0})
    with path.open("ab") as file:
        file.write(b'{"number": ')
    with pytest.warns(UserWarning, match=r"lines\.jsonl: the last line is torn, 11 bytes are dropped"):
        assert read(path) == [{"number": 0}]
    append(path, {"number": 1})
    assert read(path) == [{"number": 0}, {"number": 1}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"number": 0}\n{broken\n{"number": 2}\n')
    with pytest.raises(ValueError, match=r"lines\.jsonl: line 2 is damaged .*move the file away to begin anew"):
        read(path)

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from litestage.text.jsonl import bad, rows, text


def test_rows_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n\n{"id": 2}\n')
    assert list(rows(path)) == [(f"{path}:1", {"id": 1}), (f"{path}:3", {"id": 2})]


def test_packed_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress('{"id": "é"}\n'.encode()))
    assert [row for _, row in rows(path)] == [{"id": "é"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'id': 1}", "not a line of JSON"),
        (b'{"id": "\xff"}', "not a line of JSON"),
        (b"[1, 2]", r"found \[1, 2\]; expected one JSON object a line"),
    ],
)
def test_bad_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=message) as error:
        list(rows(path))
    assert str(error.value).startswith(f"{path}:2: ")


def test_text_is_stripped() -> None:
    assert text({"id": " x "}, "id", "f:1") == "x"


@pytest.mark.parametrize("value", [None, 3, "", "  ", ["x"]])
def test_text_that_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"^f:1: field 'a\.id': value .*; expected a text that is not empty$"):
        text({"id": value}, "id", "f:1", "a.id")


def test_long_values_are_cut_in_messages() -> None:
    message = str(bad("f:1", "id", "x" * 500, "less"))
    assert "xxx..." in message
    assert len(message) < 150

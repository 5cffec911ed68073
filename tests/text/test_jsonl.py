from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from litestage.text.jsonl import attempts, bad, listed, rows, text


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
        (b'{"id": "\xff"}', r"not a line of JSON in UTF-8: byte b'\\xff' at position 8; save the file as UTF-8"),
        ('{"id": "ä"}'.encode("utf-16"), "not a line of JSON in UTF-8"),
        (b'{"id": 1, "id": 2}', "field 'id' occurs twice in one object"),
        (b"[" * 10_000, "not a line of JSON"),
        (b"[1, 2]", r"found \[1, 2\]; expected one JSON object a line"),
    ],
)
def test_bad_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=message) as error:
        list(rows(path))
    assert str(error.value).startswith(f"{path}:2: ")


def test_reading_goes_on_behind_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{\n{"id": 2}\n')
    found = dict(attempts(path))
    assert list(found) == [f"{path}:{line}" for line in (1, 2, 3)]
    assert isinstance(found[f"{path}:2"], ValueError)
    assert found[f"{path}:3"] == {"id": 2}


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n', encoding="utf-8-sig")
    assert [row for _, row in rows(path)] == [{"id": 1}]


@pytest.mark.parametrize("cut", [0, 30])
def test_a_broken_archive_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": 1}\n' * 1000)[:cut] or b"no archive")
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz: broken after line \d+, expected a gzip file"):
        list(rows(path))


def test_a_list_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1}, {"id": 2}]')
    assert list(listed(path)) == [(f"{path} row 1", {"id": 1}), (f"{path} row 2", {"id": 2})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": 1}', r"a\.json: found \{'id': 1\}; expected a JSON list of objects"),
        ("[1]", r"a\.json row 1: found 1; expected a JSON object"),
        ('[{"id": 1},\n}', r"a\.json: not a JSON list: .*line 2"),
    ],
)
def test_what_is_no_list_of_objects_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        list(listed(path))


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

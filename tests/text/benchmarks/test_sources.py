from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage.records import Question
from litestage.text.benchmarks.sources import Origin, deal, read, shuffled, unique

FILES = {"train": "a.jsonl", "test": "b.json"}
ORIGIN = Origin(hub="me/copy", config="main", splits=("train", "test"), files=FILES, page="https://example.org")
Write = Callable[[Path, list[dict[str, Any]]], Path]


def questions(*ids: str) -> list[Question]:
    return [Question(id_, f"What is {id_}?", {"A": "x", "B": "y"}, "A") for id_ in ids]


def test_a_folder_gives_its_rows_with_their_place(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "a.jsonl", [{"n": 1}, {"n": 2}])
    write(tmp_path / "b.json", [{"n": 3}])
    a, b = tmp_path / "a.jsonl", tmp_path / "b.json"
    expected = [("train", f"{a}:1", {"n": 1}), ("train", f"{a}:2", {"n": 2}), ("test", f"{b} row 1", {"n": 3})]
    assert list(read(str(tmp_path), ORIGIN)) == expected


def test_missing_files_are_named(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "a.jsonl", [])
    with pytest.raises(FileNotFoundError, match=r"\['b\.json'\] missing; expected .*as in https://example\.org"):
        list(read(str(tmp_path), ORIGIN))


@pytest.mark.parametrize(
    ("source", "call"), [("me/copy", ("me/copy", "main", None)), ("me/my.copy@v1.0", ("me/my.copy", "main", "v1.0"))]
)
def test_the_hub_is_asked_for_the_revision(hub: Callable[..., list[Any]], source: str, call: tuple[Any, ...]) -> None:
    calls = hub({"test": [{"n": 2}], "train": [{"n": 1}], "more": [{"n": 3}]})
    expected = [("train", f"{source} train:1", {"n": 1}), ("test", f"{source} test:1", {"n": 2})]
    assert list(read(source, ORIGIN)) == expected
    assert calls == [call]


def test_all_splits_are_read_where_none_is_named(hub: Callable[..., list[Any]]) -> None:
    hub({"test": [{"n": 2}], "more": [{"n": 3}]})
    anything = Origin(hub="a/b", config=None, splits=(), files={"train": "a.jsonl"}, page="x")
    assert [split for split, _, _ in read("a/b", anything)] == ["test", "more"]


def test_a_missing_split_is_named(hub: Callable[..., list[Any]]) -> None:
    hub({"train": [{"n": 1}]})
    with pytest.raises(ValueError, match=r"a/b: found the splits \['train'\]; expected \['train', 'test'\]"):
        list(read("a/b", ORIGIN))


@pytest.mark.parametrize("error", [ConnectionError, FileNotFoundError, RuntimeError])
def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise error("Couldn't reach it")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(FileNotFoundError, match=r"a/b: no such folder here.*Couldn't reach it.*data\.source.*a\.jsonl"):
        list(read("a/b", ORIGIN))


def test_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; expected a folder with .*'me/copy@main'"):
        list(read(str(tmp_path / "nowhere"), ORIGIN))


def test_an_id_occurs_once_in_all_splits() -> None:
    a, b = questions("a", "b")
    assert unique([("train", "f:1", a), ("test", "g:1", b)]) == {"train": [a], "test": [b]}
    with pytest.raises(ValueError, match=r"^g:1: field 'id': value 'a'; expected an id that occurs once; f:1 has it"):
        unique([("train", "f:1", a), ("test", "g:1", a)])


@pytest.mark.parametrize(("n", "sizes"), [(3, [1, 1, 1]), (14, [12, 1, 1]), (50, [40, 5, 5]), (2290, [1832, 229, 229])])
def test_a_deal_holds_out_a_tenth_twice(n: int, sizes: list[int]) -> None:
    every = questions(*map(str, range(n)))
    dealt = deal(every, "0")
    assert [len(dealt[split]) for split in ("train", "validation", "test")] == sizes
    assert sorted(q.id for split in dealt.values() for q in split) == sorted(q.id for q in every)


def test_a_shuffle_depends_on_the_seed_and_the_key_alone() -> None:
    every = questions(*"abcdefgh")
    assert shuffled(every, "1") == shuffled(every[::-1], "1") != every
    assert len({tuple(q.id for q in shuffled(every, str(seed))) for seed in range(4)}) > 1
    renamed = [Question(q.id * 2, q.text, q.options) for q in every[::-1]]
    assert [q.text for q in shuffled(renamed, "1", lambda q: q.text)] == [q.text for q in shuffled(every, "1")]

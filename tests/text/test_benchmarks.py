from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from litestage.config import DataSettings
from litestage.records import Question, Rationale
from litestage.text import rationales
from litestage.text.benchmarks import SPLITS, load, load_obqa, split_hash

TEXTS = ["a nail", "a log", "a cup", "a key"]
SIZES = {"train": 6, "validation": 3, "test": 4}


def local_row(id_: str, answer: str = "B") -> dict[str, Any]:
    choices = [{"text": text, "label": label} for text, label in zip(TEXTS, "ABCD", strict=True)]
    return {"id": id_, "question": {"stem": f"Which one is {id_}?", "choices": choices}, "answerKey": answer}


def hub_row(id_: str) -> dict[str, Any]:
    choices = {"text": TEXTS, "label": list("ABCD")}
    return {"id": id_, "question_stem": f"Which one is {id_}?", "choices": choices, "answerKey": "B"}


def question(id_: str) -> Question:
    return Question(id_, f"Which one is {id_}?", dict(zip("ABCD", TEXTS, strict=True)), "B")


def ids(split: str) -> list[str]:
    return [f"{split}-{i}" for i in range(SIZES[split])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, name in SPLITS.items():
        (tmp_path / name).write_text("".join(json.dumps(local_row(id_)) + "\n" for id_ in ids(split)))
    return tmp_path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packaged rationales for all training questions but one, which is questionable."""

    def load_(benchmark: str, keep_questionable: bool) -> dict[str, Rationale]:
        kept = ids("train") if keep_questionable else ids("train")[1:]
        texts = {"recall": {"": "r."}, "analyze": dict.fromkeys("ABCD", "x.")}
        return {id_: Rationale(id_, texts) for id_ in kept}

    monkeypatch.setattr(rationales, "load", load_)


def settings(source: Path, **changes: Any) -> DataSettings:
    return DataSettings(benchmark="obqa", source=str(source), **changes)


def test_local_folder(folder: Path) -> None:
    expected = {split: [question(id_) for id_ in ids(split)] for split in SPLITS}
    found = load_obqa(str(folder))
    assert found == expected
    assert list(found["train"][0].options) == list("ABCD")


def fake_hub(monkeypatch: pytest.MonkeyPatch, splits: dict[str, list[dict[str, Any]]]) -> list[tuple[Any, ...]]:
    """Let `datasets.load_dataset` answer with these rows; returns the list of its calls."""
    calls = []

    def load_dataset(path: str, name: str, revision: str | None = None) -> DatasetDict:
        calls.append((path, name, revision))
        return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    return calls


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("allenai/openbookqa", ("allenai/openbookqa", "main", None)),
        ("me/my.copy@v1.0", ("me/my.copy", "main", "v1.0")),
    ],
)
def test_hub_rows_read_like_local_ones(
    monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, call: tuple[Any, ...]
) -> None:
    calls = fake_hub(monkeypatch, {split: [hub_row(id_) for id_ in ids(split)] for split in SPLITS})
    assert load_obqa(source) == load_obqa(str(folder))
    assert calls == [call]


def test_hub_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, {"train": [hub_row("t1"), {**hub_row("t2"), "answerKey": "E"}]})
    with pytest.raises(ValueError, match=r"^a/b train:2: field 'answerKey': value 'E'; expected one of the labels"):
        load_obqa("a/b")
    uneven = {**hub_row("t1"), "choices": {"text": TEXTS, "label": ["A"]}}
    fake_hub(monkeypatch, {"train": [uneven]})
    with pytest.raises(ValueError, match=r"^a/b train:1: field 'choices': .*expected as many texts as labels"):
        load_obqa("a/b")
    fake_hub(monkeypatch, {"train": [hub_row("t1")]})
    with pytest.raises(
        ValueError, match=r"a/b: found the splits \['train'\]; expected \['train', 'validation', 'test'\]"
    ):
        load_obqa("a/b")


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(
        FileNotFoundError, match=r"a/b: no such folder here.*Couldn't reach it.*data\.source.*dev\.jsonl"
    ):
        load_obqa("a/b")


def test_source_is_neither_folder_nor_hub_id(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; expected a folder with .*or a hub id"):
        load_obqa(str(tmp_path / "nowhere"))


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "dev.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"\['dev\.jsonl'\] missing; expected .*https://allenai\.org"):
        load_obqa(str(folder))


def choices(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"question": {"stem": "Which?", "choices": [{"text": text, "label": label} for text, label in pairs]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "field 'id': value None; expected a text that is not empty"),
        (
            {"id": "train-0"},
            r"field 'id': value 'train-0'; expected an id that occurs once; .*train\.jsonl:1 has it too",
        ),
        ({"answerKey": "E"}, r"field 'answerKey': value 'E'; expected one of the labels \['A', 'B', 'C', 'D'\]"),
        ({"answerKey": ["B"]}, r"field 'answerKey': value \['B'\]; expected one of the labels"),
        ({"question": "Which?"}, "field 'question': value 'Which\\?'; expected an object with stem and choices"),
        ({"question": {"stem": "Which?"}}, r"field 'question\.choices': value None; expected a list of objects"),
        ({"question": {**local_row("x")["question"], "stem": " "}}, "field 'stem': value ' '; expected a text"),
        (choices(("a", "A"), ("", "B")), r"field 'choices\[1\]\.text': value ''; expected a text"),
        (
            choices(("a", "A"), ("b", "A")),
            r"field 'choices\[1\]\.label': value 'A'; expected one capital letter that no",
        ),
        (choices(("a", "A"), ("b", "2")), r"field 'choices\[1\]\.label': value '2'; expected one capital letter"),
        (choices(("b", "B")), "field 'choices': .*expected at least two choices"),
    ],
)
def test_bad_row(folder: Path, change: dict[str, Any], message: str) -> None:
    path = folder / "test.jsonl"
    path.write_text(json.dumps(local_row("fine")) + "\n" + json.dumps({**local_row("t2"), **change}) + "\n")
    with pytest.raises(ValueError, match=message) as error:
        load_obqa(str(folder))
    assert str(error.value).startswith(f"{path}:2: ")


@pytest.mark.usefixtures("written")
def test_load_joins_rationales(folder: Path) -> None:
    splits = load(settings(folder), seed=0)
    assert [q.id for q, _ in splits.train] == ids("train")[1:]
    assert all(q.id == rationale.id for q, rationale in splits.train)
    assert splits.validation == tuple(question(id_) for id_ in ids("validation"))
    assert splits.test == tuple(question(id_) for id_ in ids("test"))
    assert len(load(settings(folder, keep_questionable=True), seed=0).train) == SIZES["train"]


@pytest.mark.usefixtures("written")
def test_sizes_take_seeded_subsets(folder: Path) -> None:
    chosen = settings(folder, train_size=3, validation_size=2, test_size=2)
    splits = load(chosen, seed=0)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [3, 2, 2]
    assert load(chosen, seed=0) == splits
    assert len({tuple(q.id for q, _ in load(chosen, seed).train) for seed in range(8)}) > 1


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(("split", "size", "there"), [("train", 6, 5), ("validation", 4, 3), ("test", 5, 4)])
def test_size_larger_than_the_split(folder: Path, split: str, size: int, there: int) -> None:
    with pytest.raises(ValueError, match=rf"data\.{split}_size is {size}; the split has {there} usable questions"):
        load(settings(folder, **{f"{split}_size": size}), seed=0)


def test_no_rationale_fits(folder: Path) -> None:
    with pytest.raises(ValueError, match="no training question has a rationale"):
        load(settings(folder), seed=0)


def test_load_miniworld() -> None:
    splits = load(DataSettings(train_size=20, validation_size=10, test_size=12), seed=3)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [20, 10, 12]
    assert all(q.id == rationale.id for q, rationale in splits.train)
    assert isinstance(splits.test[0], Question)


def test_split_hash_names_the_questions_in_order() -> None:
    a, b = question("a"), question("b")
    assert split_hash([a, b]) == "7e18f737311b"
    assert len({split_hash(made) for made in ([a, b], [b, a], [a], [])}) == 4

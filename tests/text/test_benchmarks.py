from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from litestage.config import DataSettings
from litestage.config.learning import BENCHMARKS
from litestage.records import Question, Rationale
from litestage.text import rationales
from litestage.text.benchmarks import PUBLISHED, load, split_hash, strategyqa
from litestage.text.benchmarks import own as own_questions

FILES = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
SIZES = {"train": 6, "validation": 3, "test": 4}
OPTIONS = {"A": "a nail", "B": "a log"}
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def row(id_: str) -> dict[str, Any]:
    choices = [{"text": text, "label": label} for label, text in OPTIONS.items()]
    return {"id": id_, "question": {"stem": f"Which one is {id_}?", "choices": choices}, "answerKey": "B"}


def question(id_: str) -> Question:
    return Question(id_, f"Which one is {id_}?", OPTIONS, "B")


def rationale(id_: str, recall: str = "r.") -> Rationale:
    return Rationale(id_, {"recall": {"": recall}, "analyze": dict.fromkeys("AB", "x.")})


def ids(split: str) -> list[str]:
    return [f"{split}-{i}" for i in range(SIZES[split])]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(made) + "\n" for made in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """OpenBookQA's files."""
    for split, name in FILES.items():
        write(tmp_path / name, [row(id_) for id_ in ids(split)])
    return tmp_path


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packaged rationales for all training questions; the first one is questionable."""

    def load_(benchmark: str, keep_questionable: bool) -> dict[str, list[Rationale]]:
        return {id_: [rationale(id_)] for id_ in (ids("train") if keep_questionable else ids("train")[1:])}

    monkeypatch.setattr(rationales, "load", load_)
    monkeypatch.setattr(rationales, "questionable", lambda: frozenset(ids("train")[:1]))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Own questions: six for training, three and four others."""
    made = [(id_, split) for split in FILES for id_ in ids(split)]
    rows = [{"id": i, "question": question(i).text, "options": OPTIONS, "answer": "B", "split": s} for i, s in made]
    return write(tmp_path / "mine.jsonl", rows)


def reasons(path: Path, *ids_: str, recall: str = "r.") -> Path:
    """A file with one rationale for each id named."""
    return write(path, [{"id": id_, "recall": recall, "analyze": dict.fromkeys("AB", "x.")} for id_ in ids_])


def obqa(source: Path, **changes: Any) -> DataSettings:
    return DataSettings(benchmark="obqa", source=str(source), **changes)


def own(path: Path, **changes: Any) -> DataSettings:
    return DataSettings(benchmark=str(path), **changes)


def test_every_published_benchmark_may_be_named() -> None:
    assert {"miniworld", *PUBLISHED} == set(BENCHMARKS)
    assert set(PUBLISHED) == set(rationales.PACKAGED)


@pytest.mark.usefixtures("written")
def test_load_joins_the_packaged_rationales(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a questionable rationale is left out on purpose, not missing
        splits = load(obqa(folder), seed=0)
    assert splits.train == tuple((question(id_), rationale(id_)) for id_ in ids("train")[1:])
    assert splits.validation == tuple(question(id_) for id_ in ids("validation"))
    assert splits.test == tuple(question(id_) for id_ in ids("test"))
    assert len(load(obqa(folder, keep_questionable=True), seed=0).train) == SIZES["train"]


@pytest.mark.usefixtures("written")
def test_training_questions_without_a_rationale_are_counted(folder: Path) -> None:
    write(folder / "train.jsonl", [row(id_) for id_ in (*ids("train"), "new-1", "new-2")])
    with pytest.warns(UserWarning, match="obqa: 2 of 8 training questions have no rationale and are left out of fine"):
        splits = load(obqa(folder), seed=0)
    assert [q.id for q, _ in splits.train] == ids("train")[1:]


@pytest.mark.usefixtures("written")
def test_sizes_take_seeded_subsets(folder: Path) -> None:
    chosen = obqa(folder, train_size=3, validation_size=2, test_size=2)
    splits = load(chosen, seed=0)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [3, 2, 2]
    assert load(chosen, seed=0) == splits
    assert len({tuple(q.id for q, _ in load(chosen, seed).train) for seed in range(8)}) > 1


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(("split", "size", "there"), [("train", 6, 5), ("validation", 4, 3), ("test", 5, 4)])
def test_size_larger_than_the_split(folder: Path, split: str, size: int, there: int) -> None:
    with pytest.raises(ValueError, match=rf"data\.{split}_size is {size}; the split has {there} usable questions"):
        load(obqa(folder, **{f"{split}_size": size}), seed=0)


def test_no_rationale_fits(folder: Path) -> None:
    with pytest.raises(ValueError, match="no training question has a rationale; are the ids the benchmark's own"):
        load(obqa(folder), seed=0)


@pytest.mark.parametrize(("name", "hub"), [("obqa", "allenai/openbookqa"), ("csqa", "tau/commonsense_qa")])
def test_without_a_source_the_benchmarks_own_place_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, hub: str
) -> None:
    asked = []

    def load_dataset(path: str, *_: object, **__: object) -> None:
        asked.append(path)
        raise ConnectionError

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(FileNotFoundError):
        load(DataSettings(benchmark=name), seed=0)
    assert asked == [hub]


def test_packaged_rationales_of_strategyqa_fit_whatever_the_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"qid": f"any-{i}", "question": f"Is {i} odd?", "answer": True} for i in range(10)]
    keys = [strategyqa.key(Question("", row["question"], {})) for row in rows]
    (tmp_path / "strategyqa_train.json").write_text(json.dumps(rows))
    monkeypatch.setattr(rationales, "load", lambda *_: {key: [rationale(key)] for key in keys})
    splits = load(DataSettings(benchmark="strategyqa", source=str(tmp_path)), seed=0)
    assert len(splits.train) == 8
    assert [reason.id for _, reason in splits.train] == [strategyqa.key(asked) for asked, _ in splits.train]
    assert {asked.id for asked, _ in splits.train} < {row["qid"] for row in rows}


def test_own_questions_with_own_rationales(mine: Path, tmp_path: Path) -> None:
    path = reasons(tmp_path / "reasons.jsonl", "train-1", "train-4", "test-0")
    with pytest.warns(UserWarning, match=r"mine\.jsonl: 4 of 6 training questions have no rationale"):
        splits = load(own(mine, rationales=str(path)), seed=0)
    assert splits.train == tuple((question(id_), rationale(id_)) for id_ in ("train-1", "train-4"))
    assert splits.test == tuple(question(id_) for id_ in ids("test"))
    assert splits.train[0][1].where == f"{path}:1"


def test_own_rationales_take_the_place_of_the_packaged(folder: Path, tmp_path: Path) -> None:
    path = reasons(tmp_path / "reasons.jsonl", *ids("train"), recall="mine.")
    assert load(obqa(folder, rationales=str(path)), seed=0).train[0] == (
        question("train-0"),
        rationale("train-0", "mine."),
    )


def test_each_of_several_rationales_is_a_training_example(mine: Path, tmp_path: Path) -> None:
    path = reasons(tmp_path / "reasons.jsonl", *ids("train"), *ids("train"))
    splits = load(own(mine, rationales=str(path)), seed=0)
    assert [q.id for q, _ in splits.train] == sorted([*ids("train"), *ids("train")])
    fewer = load(own(mine, rationales=str(path), train_size=2), seed=0)  # questions, not examples
    assert len(fewer.train) == 4
    assert len({q.id for q, _ in fewer.train}) == 2
    with pytest.raises(ValueError, match=r"data\.train_size is 7; the split has 6 usable questions"):
        load(own(mine, rationales=str(path), train_size=7), seed=0)


def test_a_rationale_for_an_unknown_question_is_refused(mine: Path, tmp_path: Path) -> None:
    path = reasons(tmp_path / "reasons.jsonl", "train-0", "elsewhere")
    with pytest.raises(ValueError, match=r"reasons\.jsonl:2: field 'id': value 'elsewhere'; .*one of the 13 questions"):
        load(own(mine, rationales=str(path)), seed=0)


def test_own_questions_without_rationales_say_what_can_be_learned(mine: Path) -> None:
    with pytest.warns(UserWarning, match=r"data\.rationales is null.*only stages whose target has no {rationale}"):
        splits = load(own(mine), seed=0)
    assert splits.train == tuple((question(id_), Rationale(id_, {})) for id_ in ids("train"))


def test_the_examples_of_the_documentation_load() -> None:
    settings = own(EXAMPLES / "questions.jsonl", rationales=str(EXAMPLES / "rationales.jsonl"))
    with pytest.warns(UserWarning, match="1 of 10 training questions have no rationale"):
        splits = load(settings, seed=0)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [10, 2, 2]
    assert {len(q.options) for q, _ in splits.train} == {2, 3, 4, 5}


def test_load_miniworld() -> None:
    splits = load(DataSettings(train_size=20, validation_size=10, test_size=12), seed=3)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [20, 10, 12]
    assert all(q.id == rationale.id for q, rationale in splits.train)
    assert isinstance(splits.test[0], Question)


def test_split_hash_names_the_questions_in_order() -> None:
    a, b = question("a"), question("b")
    assert split_hash([a, b]) == "7e18f737311b"
    assert len({split_hash(made) for made in ([a, b], [b, a], [a], [])}) == 4


def test_the_forms_shown_in_the_documentation_are_read(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "your-data.md").read_text()
    shown, reasoned = re.findall(r"^```jsonl\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "questions.jsonl").write_text(shown)
    (tmp_path / "rationales.jsonl").write_text(reasoned)
    found = own_questions.grouped(tmp_path / "questions.jsonl")
    asked = [question for questions in found.values() for question in questions]
    assert list(found) == ["train", "test"]
    assert [len(made) for made in rationales.read(tmp_path / "rationales.jsonl", asked).values()] == [2]

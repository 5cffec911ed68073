"""The journal comes back as it was written, whatever a crash left of its last line, and refuses what is not its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litestage import sharing
from litestage.model.decode import Generated
from litestage.search.journal import FORMAT, VERSION, Journal

ABOUT = {"model": "m", "reasoning": {"rows": 128, "stages": ("recall", "summarize")}, "seed": 0}
OUTPUTS = {
    "a1": Generated([5, 0], "eos", [0.123456, 1.0]),
    "a2": Generated([7], "confidence", [1 / 3]),
    "a3": Generated([], "no room"),
}
MORE = {"b1": Generated([9, 9, 9], "cap", [0.5, 0.25, 1e-6])}
TRIAL = {"stages": {"recall": {"skip": [1, 2]}}, "accuracy": 0.52, "latency": {}, "stopped": "accuracy"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.jsonl"


@pytest.fixture
def written(path: Path) -> list[bytes]:
    """A journal of six lines."""
    journal = Journal(path, ABOUT)
    journal.add_outputs(OUTPUTS)
    journal.fact("cost", lambda: {"rows": [1, 4], "head": 0.1 + 0.2})
    journal.add_trial(TRIAL)
    journal.add_outputs(MORE)
    journal.add_trial({**TRIAL, "accuracy": 0.6})
    return path.read_bytes().splitlines(keepends=True)


def content(journal: Journal) -> tuple[Any, ...]:
    return journal.outputs, journal.facts, journal.trials


def test_what_is_written_comes_back(path: Path, written: list[bytes]) -> None:
    back = Journal(path, ABOUT)
    assert back.outputs == OUTPUTS | MORE
    assert back.facts == {"cost": {"rows": [1, 4], "head": 0.1 + 0.2}}
    assert back.trials == [TRIAL, {**TRIAL, "accuracy": 0.6}]
    assert path.read_bytes() == b"".join(written)


def test_every_line_is_one_object_and_the_first_says_what_it_is_about(written: list[bytes]) -> None:
    lines = [json.loads(line) for line in written]
    assert [sorted(line) for line in lines[1:]] == [["outputs"], ["fact", "value"], ["trial"], ["outputs"], ["trial"]]
    assert lines[0] == {"format": FORMAT, "version": VERSION, "about": json.loads(json.dumps(ABOUT))}


def test_it_goes_on_behind_what_was_there(path: Path) -> None:
    for number in range(3):
        Journal(path, ABOUT).add_outputs({f"c{number}": Generated([number], "cap", [0.5])})
    assert list(Journal(path, ABOUT).outputs) == ["c0", "c1", "c2"]
    assert len(path.read_bytes().splitlines()) == 4


def test_no_outputs_are_no_line(path: Path) -> None:
    journal = Journal(path, ABOUT)
    before = path.read_bytes()
    journal.add_outputs({})
    assert path.read_bytes() == before


@pytest.mark.parametrize("last", range(1, 7))
def test_a_torn_last_line_is_dropped_wherever_it_is_torn(path: Path, written: list[bytes], last: int) -> None:
    """Of the header too. What was there before it stays, and what is appended afterwards is whole."""
    kept = written[: last - 1]
    path.write_bytes(b"".join(kept) or b"".join(written[:1]))
    want = content(Journal(path, ABOUT))
    for cut in range(1, len(written[last - 1])):
        path.write_bytes(b"".join([*kept, written[last - 1][:cut]]))
        with pytest.warns(UserWarning, match=f"last line is torn, {cut} bytes are dropped"):
            journal = Journal(path, ABOUT)
        assert content(journal) == want
        assert path.read_bytes() == b"".join(kept or written[:1])
        journal.add_outputs(MORE)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Journal(path, ABOUT).outputs == want[0] | MORE


def test_an_empty_file_is_begun(path: Path) -> None:
    path.touch()
    Journal(path, ABOUT).add_outputs(MORE)
    assert Journal(path, ABOUT).outputs == MORE


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[: len(line) // 2] + b"\n",
        lambda line: b"\n",
        lambda line: b"\xff\xfe" + line,
        lambda line: b"7\n",
        lambda line: b"[]\n",
        lambda line: b"{}\n",
        lambda line: b'{"fact": "cost"}\n',
        lambda line: b'{"outputs": {"a": 5}}\n',
        lambda line: b'{"outputs": {"a": []}}\n',
        lambda line: b'{"outputs": ["a"]}\n',
        lambda line: line + line[:-2] + b"\n",
    ],
)
def test_a_damaged_line_in_the_middle_is_named(
    path: Path, written: list[bytes], damage: Callable[[bytes], bytes]
) -> None:
    content = b"".join([*written[:2], damage(written[2]), *written[3:]])
    path.write_bytes(content)
    number = 4 if damage(written[2]).count(b"\n") == 2 else 3
    with pytest.raises(ValueError, match=rf"search\.jsonl: line {number} is damaged .*move the file away"):
        Journal(path, ABOUT)
    assert path.read_bytes() == content


def test_a_damaged_first_line_is_named(path: Path, written: list[bytes]) -> None:
    path.write_bytes(b"".join([written[0][:20] + b"\n", *written[1:]]))
    with pytest.raises(ValueError, match="line 1 is damaged"):
        Journal(path, ABOUT)


def test_a_journal_about_something_else_is_refused_with_every_difference(path: Path, written: list[bytes]) -> None:
    other = {"model": "n", "reasoning": ABOUT["reasoning"], "dtype": "bfloat16"}
    with pytest.raises(ValueError, match="the journal of another search") as caught:
        Journal(path, other)
    message = str(caught.value)
    assert "model: 'm' then, 'n' now" in message
    assert "seed: 0 then, None now" in message
    assert "dtype: None then, 'bfloat16' now" in message
    assert "reasoning" not in message
    assert "Move the file away" in message
    assert path.read_bytes() == b"".join(written)


@pytest.mark.parametrize(
    "head",
    [
        {"format": "other", "version": VERSION, "about": ABOUT},
        {"format": FORMAT, "version": VERSION + 1, "about": ABOUT},
        {"about": ABOUT},
        {"trial": TRIAL},
        [],
        7,
    ],
)
def test_another_format_or_version_is_refused(path: Path, head: object) -> None:
    path.write_text(json.dumps(head) + "\n")
    with pytest.raises(ValueError, match=f"not a '{FORMAT}' file of version {VERSION}"):
        Journal(path, ABOUT)


@pytest.mark.filterwarnings("error")
def test_only_the_first_process_touches_the_file(
    path: Path, written: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others take from it what it read, and the facts it found."""
    path.write_bytes(torn := b"".join(written)[:-5])
    told = iter([("", OUTPUTS, {"cost": 1}, [TRIAL]), [3, 1]])
    monkeypatch.setattr(sharing, "rank", lambda: 1)
    monkeypatch.setattr(sharing, "first", lambda mine: next(told))
    journal = Journal(path, {"model": "known to the first process only"})
    assert content(journal) == (OUTPUTS, {"cost": 1}, [TRIAL])
    assert journal.fact("cost", lambda: pytest.fail("known")) == 1
    assert journal.fact("order", lambda: pytest.fail("found by the first process")) == [3, 1]
    journal.add_outputs(MORE)
    journal.add_trial({"new": True})
    assert path.read_bytes() == torn
    assert journal.trials == [TRIAL, {"new": True}]


def test_what_the_first_process_refuses_ends_the_others_with_its_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "rank", lambda: 1)
    monkeypatch.setattr(sharing, "first", lambda mine: ("of another model", *mine[1:]))
    with pytest.raises(ValueError, match="of another model"):
        Journal(path, ABOUT)


@pytest.mark.parametrize("about", [None, [], 7])
def test_a_head_that_says_nothing_is_refused(path: Path, about: object) -> None:
    path.write_text(json.dumps({"format": FORMAT, "version": VERSION, "about": about}) + "\n")
    with pytest.raises(ValueError, match="line 1 does not say what the journal is about"):
        Journal(path, ABOUT)


@pytest.mark.parametrize("value", [{"rows": (1, 4), "seconds": 0.1}, [], None, 0])
def test_a_fact_is_found_once_only(path: Path, value: object) -> None:
    found = []

    def find() -> object:
        found.append(value)
        return value

    plain = json.loads(json.dumps(value))
    journal = Journal(path, ABOUT)
    for again in (lambda: journal, lambda: journal, lambda: Journal(path, ABOUT)):
        assert again().fact("cost", find) == plain
    assert len(found) == 1
    assert Journal(path, ABOUT).fact("order", lambda: "another") == "another"


def test_a_trial_is_recorded_once(path: Path) -> None:
    Journal(path, ABOUT).add_trial(TRIAL)
    journal = Journal(path, ABOUT)
    for trial in (TRIAL, dict(reversed(TRIAL.items())), {**TRIAL, "accuracy": 0.6}, {**TRIAL, "accuracy": 0.6}):
        journal.add_trial(trial)
    assert Journal(path, ABOUT).trials == journal.trials == [TRIAL, {**TRIAL, "accuracy": 0.6}]

"""What of the answers a page shows, and what it marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from litestage.report.answers import read_answers
from litestage.report.browse import GONE, NEW, SAME, Pieces, pack, pieces

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("a b", "a  b", [(SAME, "a b")]),
        ("", "", []),
        ("Wood floats well.", "Wood sinks.", [(SAME, "Wood"), (GONE, "floats well."), (NEW, "sinks.")]),
        ("a b c", "a b", [(SAME, "a b"), (GONE, "c")]),
        ("a c", "a b c", [(SAME, "a"), (NEW, "b"), (SAME, "c")]),
        ("a", "", [(GONE, "a")]),
    ],
)
def test_pieces_mark_words(before: str, after: str, found: Pieces) -> None:
    assert pieces(before, after) == found


@pytest.mark.parametrize("kind", [NEW, GONE])
def test_pieces_hold_both_texts(kind: int) -> None:
    texts = "the metal of a nail is dense and sinks", "a nail is dense, so the nail sinks"
    kept = " ".join(text for k, text in pieces(*texts) if k in (SAME, kind))
    assert kept == texts[kind == NEW]


def test_packed_cells_compare_with_full_depth(tmp_path: Path, write_questions: Write) -> None:
    packed = pack(read_answers(write_questions(tmp_path)))
    assert packed["methods"] == ["full depth", "litestage"]
    question = packed["questions"][3]
    assert (question["id"], question["gold"], question["answers"]) == ("q3", "B", ["B", None])
    assert question["options"] == [("A", "a nail"), ("B", "a log")]
    assert [(o["stage"], o["option"]) for o in question["outputs"]] == [
        ("recall", ""),
        ("analyze", "A"),
        ("analyze", "B"),
        ("summarize", ""),
    ]
    recall, analyze, *_ = (output["cells"] for output in question["outputs"])
    assert recall[0] == {"tokens": 5, "stop": "eos", "text": "Wood floats on water."}
    assert recall[1] == {
        "tokens": 5,
        "stop": "confidence",
        "pieces": [(SAME, "Wood"), (GONE, "floats on water."), (NEW, "sinks.")],
    }
    assert analyze[1] == {"tokens": 4, "stop": "eos"}  # the same text


def test_differing_questions_come_in_first_and_keep_their_order(tmp_path: Path, write_questions: Write) -> None:
    answered = read_answers(write_questions(tmp_path, 20))
    packed = pack(answered, most=7)
    assert [question["id"] for question in packed["questions"]] == ["q0", "q1", "q3", "q7", "q11", "q15", "q19"]
    assert (packed["shown"], packed["total"], packed["differing"]) == (7, 20, 5)
    assert [question["id"] for question in pack(answered, most=2)["questions"]] == ["q3", "q7"]


def test_a_page_takes_no_more_bytes_than_it_may(tmp_path: Path, write_questions: Write) -> None:
    plain = read_answers(write_questions(tmp_path, 20))
    signs = read_answers(write_questions(tmp_path, 20, text="<" * 500))
    few, fewer = pack(plain, most_bytes=5_000)["shown"], pack(signs, most_bytes=5_000)["shown"]
    assert 0 < fewer < few < 20  # signs of HTML count as long as they are on the page


def test_a_method_that_lacks_a_question_leaves_its_cells_empty(tmp_path: Path, write_questions: Write) -> None:
    path = write_questions(tmp_path, 2)
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    last = pack(read_answers(path))["questions"][1]
    assert last["answers"] == ["B", None]
    assert [output["cells"][1] for output in last["outputs"]] == [None] * 4


def test_no_answers_at_all() -> None:
    assert pack([]) == {"methods": [], "total": 0, "shown": 0, "differing": 0, "questions": []}

"""The command line of `python -m litestage`."""

from __future__ import annotations

import pytest

from litestage.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["solve"], "invalid choice: 'solve'"),
        (["answer", "Why?", "a", "b"], "one of the arguments --run --model is required"),
        (["answer", "--run", "a", "--model", "b", "Why?"], "not allowed with argument --run"),
        (["answer", "--run", "nowhere", "Why?", "a", "b"], "error: nowhere: no run here"),
    ],
)
def test_bad_usage_ends_with_a_message(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "answer one question under a plan" in capsys.readouterr().out

"""What a trial says of itself, given up or not."""

from __future__ import annotations

import json

from litestage.plan import Plan
from litestage.search.trial import Trial

PLAN = Plan.full_depth("m", 4, ["recall", "summarize"])


def test_a_finished_trial() -> None:
    trial = Trial(PLAN, 4, {"a": True, "b": False, "c": True, "d": True}, {"recall": 0.25, "summarize": 0.5})
    assert (trial.accuracy, trial.seconds) == (0.75, 0.75)
    assert trial.reaches(3)
    assert not trial.reaches(4)


def test_a_trial_that_was_given_up_tells_the_most_it_could_have_reached() -> None:
    trial = Trial(PLAN, 4, {"a": False, "b": False, "c": True}, stopped="accuracy")
    assert trial.accuracy == 0.5
    assert trial.seconds == float("inf")
    assert not trial.reaches(0)


def test_the_summary_is_plain_json() -> None:
    trial = Trial(PLAN, 2, {"a": True}, stopped="chance")
    summary = json.loads(json.dumps(trial.summary()))
    assert summary["answered"] == 1
    assert summary["stopped"] == "chance"
    assert summary["stages"] == PLAN.to_json()["stages"]

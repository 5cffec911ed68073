"""The card of a plan, `README.md` beside `plan.json`: what it is for, what it costs and saves, how it is used.

card(plan)    # Plan.save_pretrained writes it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestage.plan import Plan, StagePlan

HEAD = """---
library_name: litestage
tags:
- layer-skipping
- early-exit
---
"""
DEFAULT = {"recall", "analyze", "summarize"}
"""Stages that need no file of their own."""
USE = """## Use

```python
from litestage.plan import Plan

plan = Plan.from_pretrained("{where}")  # this folder, or its id on the hub
with plan.apply(model, stage="{stage}"):  # a transformers model with the weights above
    model.generate(**inputs, do_sample=False)
```

```bash
python -m litestage answer --model path/to/model --plan {where}{stages} "question" "option A" "option B"
```
"""


def card(plan: Plan) -> str:
    """The text of the card; what the plan's provenance does not know is left out."""
    parts = [
        HEAD + f"# Skip plan for {plan.model}",
        "Which sub-layers of the model each stage of a multi-stage reasoning pipeline leaves out (LiteStage, arXiv "
        "2510.14211). The plan holds no weights.",
        _table(["", ""], _facts(plan), "| --- | --- |"),
        *_caveat(plan.provenance),
        f"{plan.num_sublayers} sub-layers: block j holds 2j (attention) and 2j + 1 (feed-forward). "
        "Skipped while decoding; prompts are prefilled at full depth where the table does not say otherwise.",
        _table(
            ["stage", "skipped sub-layers", "in full layers", "which", "while", "early exit"],
            [_stage(name, stage) for name, stage in plan.stages.items()],
            "| --- | ---: | ---: | --- | --- | --- |",
        ),
        USE.format(
            where="path/to/plan",
            stage=max(plan.budgets, key=plan.budgets.__getitem__, default=""),
            stages="" if {*plan.stages} == DEFAULT else " --reasoning path/to/stages.yaml",
        ),
    ]
    return "\n\n".join(parts)


def _facts(plan: Plan) -> list[list[str]]:
    """What the plan was made for and what it is worth, row by row."""
    known = plan.provenance
    rows = [["model", f"{plan.model}, {plan.num_sublayers} sub-layers"]]
    if "weights" in known:
        rows.append(["weights", f"`{known['weights']}`, from the SHA-256 of their files"])
    if "benchmark" in known:
        rows.append(["benchmark", str(known["benchmark"])])
    if "questions" in known:
        named = f" (`{known['split']}`)" if "split" in known else ""
        rows.append(["searched on", f"{known['questions']} validation questions{named}"])
    if "method" in known:
        ranked = f", ranking {known['ranking']}" if "ranking" in known else ""
        rows.append(["method", f"{known['method']}{ranked}"])
    if {"full_depth_accuracy", "accuracy"} <= known.keys():
        before, after = 100 * known["full_depth_accuracy"], 100 * known["accuracy"]
        rows.append(["validation accuracy", f"{after:.1f} %, at full depth {before:.1f} %"])
    if sure := known.get("confidence"):
        change, speed = sure["accuracy_change"], sure["speedup"]
        points = [f"{100 * change[key]:+.1f}" for key in ("value", "low", "high")]
        rows.append(["accuracy change", f"{points[0]} points [{points[1]}, {points[2]}]"])
        rows.append(["predicted speed-up", f"{speed['value']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}]"])
    return rows


def _caveat(known: Mapping[str, Any]) -> list[str]:
    sure = known.get("confidence")
    if not sure:
        return []
    return [
        f"In brackets: {100 * sure['level']:g} % intervals, n = {sure['n']}. Both are of the questions the plan was "
        "chosen on, so they flatter it a little. The speed-up is that of a cost model calibrated on the searching "
        "machine; `evaluate.py` measures it on test questions."
    ]


def _stage(name: str, stage: StagePlan) -> list[str]:
    rule = stage.exit
    exit_ = f"mean of {rule.window} below {rule.threshold}" if rule else "none"
    when = "prefill and decode" if stage.prefill else "decode"
    which = ", ".join([str([*stage.skip]), *(f"from step {step} {[*skip]}" for step, skip in stage.later)])
    which += ", scaled" * bool(stage.scale)
    return [name, str(len(stage.most)), f"{len(stage.most) / 2:g}", which, when, exit_]


def _table(head: list[str], rows: list[list[str]], rule: str) -> str:
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])

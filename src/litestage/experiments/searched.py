"""What the search chose and what it took: budgets at several eps from one journal, tokens against the naive search.

budgets(bench).rows[0]["budget_sublayers"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestage.experiments.bench import Bench
from litestage.experiments.paper import MEASURED, PASSES, PUBLISHED, SOURCE, STAGES
from litestage.experiments.result import Panel, Result
from litestage.search.replay import replay, totals

EPS = (0.005, 0.01, 0.02, 0.04)
"""Losses of accuracy that the search is asked to allow, beside the run's own."""


def affordable(bench: Bench, eps: Sequence[float]) -> list[float]:
    """These eps and the run's own, as far as full depth has so much accuracy to lose."""
    accuracy = bench.objective.trial(bench.engine.full_depth()).accuracy
    return sorted(e for e in {*eps, bench.settings.search.eps} if e <= accuracy)


def budgets(bench: Bench) -> Result:
    """Table 2: which budgets does the search choose?"""
    rows: list[dict[str, Any]] = []
    spent = bench.objective.spent
    for eps in affordable(bench, EPS):
        before = spent.generated
        found = bench.found(eps)
        for stage, budget in found.plan.budgets.items():
            rows.append(
                {
                    "source": MEASURED,
                    "setting": f"eps {eps:g}",
                    "eps_percent": 100 * eps,
                    "stage": stage,
                    "budget_sublayers": budget,
                    "budget_full_layers": budget / 2,
                    "exit": found.plan.stages[stage].exit is not None,
                    "accuracy_change": 100 * (found.final.accuracy - found.full_depth.accuracy),
                    "predicted_speedup": found.full_depth.seconds / found.final.seconds,
                    "generated_anew": spent.generated - before,
                }
            )
    of: dict[str, Any] = {"kind": "bars", "x": "stage", "y": "budget_full_layers", "by": "setting"}
    panels = [Panel(title="Chosen here", where={"source": MEASURED}, **of)]
    published = _published(bench)
    if published:
        panels.append(Panel(title=SOURCE[0].upper() + SOURCE[1:], where={"source": SOURCE}, **of))
    panels.append(Panel("lines", "eps_percent", "predicted_speedup", title="Predicted", where={"source": MEASURED}))
    return Result(
        "budgets",
        "Budgets that the search chooses",
        "How does the search share what may be lost between the stages?",
        {
            "source": "source",
            "setting": "setting",
            "eps_percent": "eps: accuracy that may be lost (points)",
            "stage": "stage",
            "budget_sublayers": "budget (skipped sub-layers)",
            "budget_full_layers": "budget (skipped full layers)",
            "exit": "early exit",
            "accuracy_change": "change of accuracy of the plan (points)",
            "predicted_speedup": "speed-up that the calibrated costs predict (times)",
            "generated_anew": "tokens generated because the journal lacked them",
        },
        [*rows, *published],
        panels,
        len(bench.validation),
        "validation",
        notes=["Found from search.jsonl; only what it lacks is generated, and joins it."],
    )


def _published(bench: Bench) -> list[dict[str, Any]]:
    """The paper's Table 2."""
    found = PUBLISHED.get(bench.settings.data.benchmark)
    rest = dict.fromkeys(("eps_percent", "exit", "accuracy_change", "predicted_speedup", "generated_anew"))
    return [
        {
            **rest,
            "source": SOURCE,
            "setting": f"paper, {name}",
            "stage": stage,
            "budget_sublayers": 2 * layers,
            "budget_full_layers": layers,
        }
        for name, counts in (found.budgets.items() if found else ())
        for stage, layers in zip(STAGES, counts, strict=True)
    ]


def search_cost(bench: Bench) -> Result:
    """What would the search take that tries every budget on every question?"""
    profile = bench.document("search.json", "search", "search.py")
    engine, objective, n = bench.engine, bench.objective, profile["full_depth"]["n"]
    full = objective.trial(engine.full_depth())
    works = replay(engine, full.attempts, full.plan, objective.together)
    reading = sum(trace.prefill_tokens for trace in totals(works).values())
    # Budget 0 with nothing else is the plan before it: no pass of its own.
    tried = [t for t in profile["trials"] if t["budget"] or t["exit"] is not None or t["prefill"]]
    passes = [profile["full_depth"], *tried, *([profile["final"]] if profile["exit_kept"] else [])]
    each = [sum((p["tokens"] or profile["full_depth"]["tokens"]).values()) for p in passes]
    given_up = sum(bool(trial["stopped"]) for trial in tried)
    spent = profile["spent"]
    kept = objective.journal.outputs.values() if objective.journal else ()
    found = [
        ("naive: every plan, every question", len(passes), round(n * sum(each)), len(passes) * reading),
        ("this search (search.json)", None, spent["generated"], spent["prefill"]),
        ("all that its journal holds", None, sum(len(output.tokens) for output in kept), None),
    ]
    rows = [
        {"search": name, "passes": count, "work": kind, "tokens": tokens, "share_percent": 100 * tokens / whole}
        for name, count, *both in found
        for kind, tokens, whole in zip(("generated", "prefilled"), both, found[0][2:], strict=True)
        if tokens is not None
    ]
    published = PUBLISHED.get(bench.settings.data.benchmark)
    hours = f" ({published.hours} h on this benchmark)" if published else ""
    return Result(
        "search-cost",
        "Tokens of the search against the naive one",
        "What do reusing outputs and giving budgets up save?",
        {
            "search": "search",
            "passes": "passes over the questions",
            "work": "work",
            "tokens": "tokens",
            "share_percent": "of the naive search (%)",
        },
        rows,
        [Panel("bars", "work", "tokens", by="search")],
        n,
        "validation",
        notes=[
            f"The naive search answers all {n} questions with each of {len(passes)} plans. {given_up} were given up: "
            "they count what full depth generates. Each prefills what full depth prefills.",
            f"The paper's search: {PASSES} passes{hours}.",
        ],
    )

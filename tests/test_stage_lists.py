"""Every shipped list of stages: what fine-tuning learns from it, and that all steps work with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from litestage import cli
from litestage.config import ReasoningSettings, SearchSettings, three_stages
from litestage.engine import Engine
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_tokenizer
from litestage.pipeline import run
from litestage.plan import Plan
from litestage.records import Question, Rationale
from litestage.report.schema import read
from litestage.search.cost import CostModel
from litestage.search.objective import Objective
from litestage.search.ranking import measure_importance, rank
from litestage.search.stagewise import search
from litestage.settings import parse
from litestage.text import miniworld, rationales
from litestage.text.benchmarks import own
from litestage.text.stages import examples

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "stages"
EXAMPLES = ROOT / "docs" / "examples"
FILES = {
    "recall_analyze_summarize": ["recall", "analyze", "summarize"],
    "summarize": ["summarize"],
    "recall_summarize": ["recall", "summarize"],
    "analyze_summarize": ["analyze", "summarize"],
    "chain_of_thought": ["think"],
    "decompose_analyze_rethink_answer": ["decompose", "analyze", "rethink", "answer"],
}
FOUR = "decompose_analyze_rethink_answer"
OWN = EXAMPLES / "stages.yaml"
PATHS = [*(FOLDER / f"{name}.yaml" for name in FILES), OWN]
every_list = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


def load(path: Path) -> ReasoningSettings:
    return parse(["--reasoning", str(path)], ROOT / "configs" / "miniworld.yaml").experiment.reasoning


def test_every_file_is_listed_and_says_what_it_needs() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(FILES)
    for path in PATHS:
        assert path.read_text().startswith("# ")
        assert "Rationales need: " in path.read_text()


@pytest.mark.parametrize("name", FILES)
def test_every_file_holds_the_stages_it_is_called_for(name: str) -> None:
    reasoning = load(FOLDER / f"{name}.yaml")
    assert [stage.name for stage in reasoning.stages] == FILES[name]
    assert [stage.name for stage in reasoning.stages if stage.fans_out] == ["analyze"] * ("analyze" in FILES[name])
    assert reasoning.stages[-1].sampled == (name == "chain_of_thought")  # self-consistency needs one that is
    assert reasoning.batch_size == 64  # of the configuration: the list brings the stages alone


def test_the_list_to_copy_is_the_default() -> None:
    assert load(FOLDER / "recall_analyze_summarize.yaml").stages == three_stages()


def taught(name: str, question: Question, rationale: Rationale) -> list[tuple[str, str]]:
    return [(e.stage, e.target) for e in examples(question, rationale, load(FOLDER / f"{name}.yaml").stages)]


@pytest.mark.parametrize("benchmark", ["miniworld", "obqa"])
def test_the_ablations_and_the_chain_learn_from_the_rationales_there_are(benchmark: str) -> None:
    if benchmark == "miniworld":
        question, rationale = miniworld.build(0, 4, 4, 4)["train"][0]
    else:
        rationale = next(iter(rationales.load("obqa").values()))[0]
        question = Question(rationale.id, "Which?", dict.fromkeys(rationale.texts["analyze"], "it"), "B")
    full = taught("recall_analyze_summarize", question, rationale)
    for name in ("summarize", "recall_summarize", "analyze_summarize"):
        assert taught(name, question, rationale) == [pair for pair in full if pair[0] in FILES[name]]
    ((_, chain),) = taught("chain_of_thought", question, rationale)
    said = [target for _, target in full]
    analyzed = [f" For option {k},{text}" for k, text in zip(question.options, said[1:-1], strict=True)]
    assert chain == said[0] + "".join(analyzed) + said[-1]


def test_four_stages_learn_from_fields_of_their_names(tmp_path: Path) -> None:
    question = Question("q1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")
    row = {"id": "q1", "decompose": "What is light?", "analyze": {"A": "no.", "B": "yes."}, "rethink": "No change."}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    (rationale,) = rationales.read(tmp_path / "mine.jsonl")["q1"]
    made = list(examples(question, rationale, load(FOLDER / f"{FOUR}.yaml").stages))
    assert [(e.stage, e.target) for e in made] == [
        ("decompose", " What is light?."),
        ("analyze", " no."),
        ("analyze", " yes."),
        ("rethink", " No change."),
        ("answer", " So the answer is option B."),
    ]
    assert made[-1].prompt == (
        "Which floats?\n(A) a nail (B) a log\nDecompose: What is light?.\n"
        "Analyze: For option A, no. For option B, yes.\nRethink: No change.\nAnswer:"
    )
    del row["rethink"]
    (tmp_path / "mine.jsonl").write_text("\n" + json.dumps(row))
    (rationale,) = rationales.read(tmp_path / "mine.jsonl")["q1"]
    with pytest.raises(
        ValueError, match=r"mine\.jsonl:2: question q1: no rationale for stage 'rethink'; expected a text"
    ):
        list(examples(question, rationale, load(FOLDER / f"{FOUR}.yaml").stages))


def test_the_examples_rationales_are_for_the_examples_stages() -> None:
    written = rationales.read(EXAMPLES / "own_rationales.jsonl")
    train = own.read(EXAMPLES / "questions.jsonl", seed=0)["train"]
    pairs = rationales.join(train, written)
    assert len(pairs) == len(train) - 1  # one question has none, as in rationales.jsonl
    for question, rationale in pairs:
        *_, last = examples(question, rationale, load(OWN).stages)
        assert last.target == f" It is {question.answer}."


def test_the_page_shows_the_examples_stages() -> None:
    block = (ROOT / "docs" / "your-data.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == yaml.safe_load(OWN.read_text())


@pytest.fixture
def engine_of(make: Callable[..., torch.nn.Module], questions: list[Question]) -> Callable[[Path], Engine]:
    """A random model with a list of stages, kept short."""

    def made(path: Path) -> Engine:
        reasoning = load(path)
        reasoning.batch_size = 3
        for stage in reasoning.stages:
            stage.max_new_tokens = 6
        texts = [q.text + " ".join(q.options.values()) for q in questions]
        return Engine(Decoder(make("llama")), tiny_tokenizer(texts, 300), reasoning, "random")

    return made


@every_list
def test_importance_search_and_plan_work_with_every_list(
    engine_of: Callable[[Path], Engine], questions: list[Question], path: Path
) -> None:
    engine = engine_of(path)
    names = [stage.name for stage in engine.reasoning.stages]
    importance = measure_importance(engine, questions[:2])
    assert list(importance.stages) == names
    settings = SearchSettings(eps=0, step=3)
    cost = CostModel(6, [1, 40], [(1.0, 0.5, 0.25), (40.0, 20.0, 10.0)], (0.1, 4e-4, 1e-4, 1e-4), {})
    objective = Objective(engine, questions, cost, racing="off")
    found = search(objective, rank(engine, importance, questions[:2], settings, cost), settings)
    assert list(found.plan.stages) == names
    assert [(t.stage, t.choice.budget) for t in found.tried if t.stage == names[0]] == [
        (names[0], b) for b in (0, 3, 6)
    ]
    assert any(found.plan.budgets.values())  # nothing can be lost by it
    assert [name for name, stage in found.plan.stages.items() if stage.exit] == (names[:-1] if found.exit_kept else [])
    outputs = run(engine, questions[:1], found.plan).attempts[0].outputs
    assert list(dict.fromkeys(output.stage for output in outputs)) == names


@every_list
def test_a_plan_for_other_stages_is_refused_by_name(
    engine_of: Callable[[Path], Engine], questions: list[Question], path: Path
) -> None:
    engine = engine_of(path)
    plan = Plan.full_depth("random", 6, ["judge", *engine.stage_names[1:]])
    names = sorted(engine.stage_names)
    with pytest.raises(ValueError, match=r"the plan has stages \[.*'judge'.*\], the pipeline has \[") as refused:
        run(engine, questions, plan)
    assert str(names) in str(refused.value)


CONFIG = """
run: mini
model: {tiny: {blocks: 2, hidden: 32, heads: 2, ffn: 48, vocabulary: 300}, learning_rate: 1.0e-2}
data: {train_size: 4, validation_size: 4, test_size: 4, batch_size: 2}
reasoning: {batch_size: 4}
search: {importance_questions: 2, step: 2, eps: 0.0}
evaluate: {attempts: 2, repeats: 1, timed_questions: 2, methods: [litestage]}
tracking: {wandb: disabled}
trainer: {max_epochs: 1, max_steps: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


def own_data(path: Path, folder: Path) -> list[str]:
    """Arguments for questions and rationales of a list that miniworld has none for."""
    if path != OWN and path.stem != FOUR:
        return []
    written = EXAMPLES / "own_rationales.jsonl"
    if path.stem == FOUR:
        rows = [json.loads(line) for line in (EXAMPLES / "rationales.jsonl").read_text().splitlines()]
        written = folder / "four.jsonl"
        four = [{"id": r["id"], "decompose": r["recall"], "analyze": r["analyze"], "rethink": "No."} for r in rows]
        written.write_text("\n".join(map(json.dumps, four)))
    names = ["--data.benchmark", str(EXAMPLES / "questions.jsonl"), "--data.rationales", str(written)]
    return [*names, "--data.validation_size", "2", "--data.test_size", "2"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(validation questions are too few|have no rationale)")
@every_list
def test_train_search_and_evaluate_with_every_list(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text(CONFIG)
    stages = ["--reasoning", str(path)]
    common = ["--config", str(tmp_path / "mini.yaml"), "--root", str(tmp_path), *stages, *own_data(path, tmp_path)]
    for step in (cli.train, cli.search, cli.evaluate):
        assert step([*common], default=ROOT / "configs" / "miniworld.yaml") is not None
    names = [stage.name for stage in load(path).stages]
    folder = tmp_path / "mini"
    assert list(read(folder / "importance.json", "importance")["stages"]) == names
    assert list(Plan.from_pretrained(folder / "plan").stages) == names
    results: dict[str, Any] = read(folder / "results.json", "results")
    assert [m["name"] for m in results["methods"]] == ["full depth", "full depth (control)", "litestage"]
    page = (folder / "report.html").read_text()
    assert [name for name in names if name not in page] == []

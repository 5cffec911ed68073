"""`python -m litestage answer`: one question, stage by stage, under a plan, timed against full depth.

python -m litestage answer --run checkpoints/miniworld "Which of these conducts heat?" "a spoon" "a log"
python -m litestage answer --model path/to/model --plan path/to/plan "Is it so?" yes no
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from string import ascii_uppercase

from litestage.cli.common import console, quiet
from litestage.engine import Engine
from litestage.model.load import fetched, load_base
from litestage.pipeline import Result, run
from litestage.plan import Plan
from litestage.records import Question, StageOutput
from litestage.runs import checked, engine_of, hash_of, model_name, trained_engine, weights_hash
from litestage.settings import parse

CUT = {"eos": "", "confidence": "  [early exit]", "cap": "  [cut at the cap]", "no room": "  [no room in the context]"}
"""Mark behind an output, by why it stopped."""


def add_arguments(parser: ArgumentParser) -> None:
    """The command line of `answer`."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", type=Path, help="folder of a run, such as checkpoints/miniworld")
    model.add_argument("--model", help="folder or hub id of a model instead; needs --plan")
    parser.add_argument("--plan", help="folder or hub id of a plan; the run's own by default")
    parser.add_argument("--reasoning", type=Path, help="with --model: YAML file of the stages, if not the three")
    parser.add_argument("--repeats", type=int, default=3, help="timed passes; their median is shown (%(default)s)")
    parser.add_argument("question", help="the question, without the options")
    parser.add_argument("options", nargs="*", metavar="option", help="2 to 26 options; they are called A, B, ...")


def answer(given: Namespace) -> None:
    """Answer the question and print what every stage wrote and took.

    Raises:
        ValueError: a bad question, or a plan for another model, other stages or other weights.
        FileNotFoundError: no such run, model or plan.
    """
    question = asked(given.question, given.options)
    if given.repeats < 1:
        raise ValueError(f"--repeats is {given.repeats}; at least 1")
    quiet()
    with console.status("loading the model"):
        engine, plan = loaded(given)
    plans = {"plan": plan, "full": engine.full_depth()}
    passes: dict[str, list[Result]] = {name: [] for name in plans}
    with console.status("answering"):
        for number in range(1 + given.repeats):  # in turns, there and back; the first pass warms up
            for name in sorted(plans, reverse=number % 2 == 0):
                passes[name].append(run(engine, [question], plans[name]))
    timed = {name: results[1:] for name, results in passes.items()}
    for line in lines(question, engine, plan, timed):
        print(line)


def asked(text: str, options: Sequence[str]) -> Question:
    """The question with its options named A, B, ... Raises `ValueError` when one of them cannot be."""
    said = [option.strip() for option in options]
    if not 2 <= len(said) <= len(ascii_uppercase):
        raise ValueError(f"{len(said)} options; expected 2 to {len(ascii_uppercase)}, each in quotation marks")
    if not text.strip() or not all(said):
        raise ValueError("the question or an option is empty; expected texts")
    if twice := sorted({option for option in said if said.count(option) > 1}):
        raise ValueError(f"options {twice} occur more than once; each must differ from the others")
    return Question("asked", text.strip(), dict(zip(ascii_uppercase, said, strict=False)))


def loaded(given: Namespace) -> tuple[Engine, Plan]:
    """Engine and plan of a run, or of a model and a plan of their own."""
    if given.run is None:
        return _of_model(given)
    if given.reasoning is not None:
        raise ValueError("--reasoning goes with --model; a run brings its own stages")
    folder = given.run.expanduser().resolve()
    config = folder / "config.yaml"
    if not config.is_file():
        raise FileNotFoundError(f"{given.run}: no run here, config.yaml is missing; python train.py makes one")
    if given.plan is None and not (folder / "plan" / "plan.json").is_file():
        raise FileNotFoundError(
            f"{given.run}: no plan yet; make one: python search.py --config {given.run}/config.yaml"
        )
    made = parse(["--config", str(config)], None)
    here = replace(made.experiment, root=str(folder.parent), run=folder.name)  # wherever the folder lies by now
    engine = replace(trained_engine(replace(made, experiment=here)), name=model_name(made.experiment))
    source = given.plan or folder / "plan"
    return engine, checked(Plan.from_pretrained(source), source, engine, weights_hash(folder))


def _of_model(given: Namespace) -> tuple[Engine, Plan]:
    """A model by folder or hub id goes by the plan's name for it; its weights tell whether it is the one."""
    if given.plan is None:
        raise ValueError("--model needs --plan: the folder or hub id of a plan for it")
    plan = Plan.from_pretrained(given.plan)
    made = parse([] if given.reasoning is None else ["--reasoning", str(given.reasoning)], None)
    folder = fetched(given.model)
    engine = engine_of(made, load_base(str(folder)), given.model)
    if engine.decoder.num_sublayers == plan.num_sublayers:
        engine = replace(engine, name=plan.model)
    return engine, checked(plan, given.plan, engine, hash_of(folder.glob("*.safetensors")))


def lines(question: Question, engine: Engine, plan: Plan, timed: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    """What is printed: a heading and the outputs of each stage, then the answers."""
    attempts = {name: results[0].attempts[0] for name, results in timed.items()}
    for stage in engine.stage_names:
        seconds = {name: median(result.usage[stage].seconds for result in timed[name]) for name in timed}
        outputs = [output for output in attempts["plan"].outputs if output.stage == stage]
        skipped = f"skips {plan.budgets[stage]} of {plan.num_sublayers} sub-layers"
        yield f"{stage}: {skipped}; {sum(o.tokens for o in outputs)} tokens; {_against(seconds)}"
        yield from (f"  {_shown(output)}" for output in outputs)
    totals = {name: median(sum(u.seconds for u in r.usage.values()) for r in timed[name]) for name in timed}
    given, full = attempts["plan"].answer, attempts["full"].answer
    yield f"answer: {_named(question, given)}; {_against(totals)}"
    yield "full depth answers the same" if given == full else f"full depth answers: {_named(question, full)}"


def _against(seconds: Mapping[str, float]) -> str:
    ratio = seconds["full"] / seconds["plan"] if seconds["plan"] else 1.0
    return f"{seconds['plan']:.3g} s, full depth {seconds['full']:.3g} s ({ratio:.2f}x)"


def _shown(output: StageOutput) -> str:
    return f"{output.label + '  ' if output.label else ''}{output.text}{CUT[output.stop]}"


def _named(question: Question, label: str | None) -> str:
    return f"{label} ({question.options[label]})" if label else "none; the last stage names no option"

"""A run's folder and what the scripts load from it: models, engines, trainers.

engine = trained_engine(parse(["--run", "miniworld"], Path("configs/miniworld.yaml")))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric import Fabric
from lightning.pytorch.callbacks import ModelCheckpoint

from litestage.config import Experiment
from litestage.engine import Engine
from litestage.model.glue import EAGER, compiled
from litestage.model.importance import Importance
from litestage.model.load import attach_lora, load_base, load_trained
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_llama, tiny_tokenizer
from litestage.plan import Plan
from litestage.records import Question
from litestage.report.environment import environment
from litestage.report.schema import read
from litestage.search.journal import Journal
from litestage.settings import Given
from litestage.text.benchmarks import Splits, split_hash
from litestage.text.stages import examples


def model_name(experiment: Experiment) -> str:
    """What plans call the fine-tuned model: its base and the run."""
    base = experiment.model.base
    return f"{Path(base).name if Path(base).is_dir() else base} ({experiment.run})"


def writable(folder: Path) -> Path:
    """Make the run's folder and prove that it can be written, before hours are spent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"{folder}: cannot write there ({error.strerror}); choose another --root or --run"
        ) from error
    return folder


def needed(path: Path, script: str) -> Path:
    """The path, or `FileNotFoundError` that says which script makes it."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; run `python {script}` with the same configuration first")
    return path


def weights_hash(folder: Path) -> str:
    """Short SHA-256 of the trained weights in a run's folder: a plan holds for the weights it was searched with."""
    return hash_of([*folder.glob("model/*.safetensors"), *folder.glob("adapter/*.safetensors")])


def hash_of(files: Iterable[Path]) -> str:
    """Short SHA-256 over the files' own ones, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def checked(plan: Plan, source: str | Path, engine: Engine, weights: str) -> Plan:
    """The plan, if it is for the engine's model and stages and for these weights (as `weights_hash` names them).

    Raises:
        ValueError: it is not; `source`, where it comes from, is in the message.
    """
    plan.check(engine.name, engine.decoder.num_sublayers, engine.stage_names)
    searched = plan.provenance.get("weights")
    if searched not in (None, weights):
        raise ValueError(
            f"{source}: the plan was found for other weights ({searched}) than these ({weights}): another model, or "
            "trained again since this search; run search.py again"
        )
    return plan


def new_model(experiment: Experiment, splits: Splits) -> tuple[Any, Any]:
    """The base model to fine-tune, with adapters where asked for.

    Raises:
        ValueError: adapters on the model from scratch, whose frozen weights would be random and are not kept.
    """
    settings = experiment.model
    if settings.base == "tiny" and settings.lora:
        raise ValueError("model.lora: adapters need a pretrained model.base, not 'tiny'; set model.lora to null")
    if settings.base == "tiny":
        stages = experiment.reasoning.stages
        texts = (e.prompt + e.target for pair in splits.train for e in examples(*pair, stages))
        tokenizer = tiny_tokenizer(texts, settings.tiny.vocabulary)
        model: Any = tiny_llama(settings.tiny, tokenizer, experiment.seed)
    else:
        model, tokenizer = load_base(settings.base)
    return (attach_lora(model, settings.lora) if settings.lora else model), tokenizer


def together(given: Given) -> Fabric:
    """Start the processes that the trainer group asks for (devices, nodes, strategy), or join those of torchrun."""
    names = ("accelerator", "devices", "num_nodes", "strategy")
    fabric = Fabric(**{name: given.trainer[name] for name in names})
    fabric.launch()
    return fabric


def trained_engine(given: Given) -> Engine:
    """What `train.py` left, on the device that the trainer group names."""
    settings = given.experiment.model
    return engine_of(given, load_trained(given.folder, settings.base, settings.dtype), model_name(given.experiment))


def engine_of(given: Given, loaded: tuple[Any, Any], name: str) -> Engine:
    """A loaded model and its tokenizer with the stages of an experiment, on the device that the trainer group names.

    Args:
        given: the experiment.
        loaded: model and tokenizer.
        name: what a plan calls the model.
    """
    settings, (model, tokenizer) = given.experiment.model, loaded
    device = make_trainer(given, [], []).strategy.root_device
    glue = compiled(device) if settings.compile else EAGER
    decoder = Decoder(model.eval().to(device), fuse=True, pack=settings.packed, glue=glue)
    return Engine(decoder, tokenizer, given.experiment.reasoning, name)


def trained_importance(folder: Path) -> Importance:
    """The ranking that `train.py` left."""
    return Importance.from_json(read(needed(folder / "importance.json", "train.py"), "importance"))


def searched_plan(folder: Path, engine: Engine) -> Plan:
    """The plan that `search.py` left.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is for another model or other stages, or was searched with other weights.
    """
    return checked(Plan.from_pretrained(folder / "plan"), folder / "plan", engine, weights_hash(folder))


def journal_of(given: Given, engine: Engine, questions: Sequence[Question]) -> Journal:
    """The journal of this run's search over these questions; made when it is not there."""
    return Journal(given.folder / "search.jsonl", about(given, engine, questions))


def about(given: Given, engine: Engine, questions: Sequence[Question]) -> dict[str, Any]:
    """What outputs depend on besides prompt and plan, and what calibrated costs depend on."""
    stages = json.dumps([asdict(stage) for stage in engine.reasoning.stages], sort_keys=True)
    dtype = str(engine.decoder.dtype).removeprefix("torch.")
    made_by = environment(str(engine.decoder.device), dtype)
    return {
        "model": engine.name,
        "weights": weights_hash(given.folder),
        "benchmark": given.experiment.data.benchmark,
        "questions": split_hash(questions),
        "stages": hashlib.sha256(stages.encode()).hexdigest()[:12],
        "batch_size": engine.reasoning.batch_size,
        "rows": engine.reasoning.rows,
        "packed": given.experiment.model.packed,
        "compile": given.experiment.model.compile,
        "dtype": dtype,
        "device": engine.decoder.device.type,
        "versions": {name: made_by[name] for name in ("torch", "transformers", "litestage")},
    }


def ranking_fact(given: Given) -> str:
    """Name of a ranking in the journal: what it depends on."""
    names = ("ranking", "per_second", "order", "max_budget", "importance_questions")
    importance = hashlib.sha256((given.folder / "importance.json").read_bytes()).hexdigest()[:12]
    return "order " + json.dumps({**{n: getattr(given.experiment.search, n) for n in names}, "importance": importance})


def make_trainer(given: Given, loggers: Sequence[Any], callbacks: Sequence[Any]) -> L.Trainer:
    """A Trainer with the user's arguments, his callbacks before ours.

    `trainer.precision` is for training (it has a checkpoint callback). Answers run in `model.dtype` as it is: search
    knows no autocast, and evaluation must run what was searched.
    """
    own = given.trainer["callbacks"] or []
    own = own if isinstance(own, list) else [own]
    training = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    precision = given.trainer["precision"] if training else None
    arguments = {**given.trainer, "precision": precision, "callbacks": [*own, *callbacks]}
    return L.Trainer(
        **arguments,
        logger=list(loggers) or False,
        default_root_dir=given.folder,
        enable_checkpointing=training,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,  # the data module shares questions itself
        inference_mode=True,
    )

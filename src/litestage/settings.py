"""Command line and YAML to an `Experiment`: one parser for all three scripts, so one file serves them all.

given = parse(["--config", "configs/miniworld.yaml", "--search.eps", "0.02"], Path("configs/miniworld.yaml"))
given.experiment.search.eps      # 0.02
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from pydoc import locate
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings
from lightning import Trainer

from litestage.config import Experiment

OURS = {
    "logger",
    "enable_checkpointing",
    "default_root_dir",
    "inference_mode",
    "reload_dataloaders_every_n_epochs",
    "use_distributed_sampler",
}
"""Trainer arguments that the scripts set themselves."""


@dataclass(frozen=True)
class Given:
    """What the user asked for: the experiment, the arguments of `lightning.Trainer`, a checkpoint to resume from."""

    experiment: Experiment
    trainer: dict[str, Any]
    ckpt_path: str | None
    resolved: str
    """Everything as YAML; it loads back with `--config`."""

    @property
    def folder(self) -> Path:
        """Where this experiment's files lie."""
        return Path(self.experiment.root) / self.experiment.run


def make_parser() -> ArgumentParser:
    """All settings of `Experiment`, the group `trainer`, `--config` and `--ckpt_path`."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the text under a field is its help
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of the experiment; options after it win.")
    parser.add_class_arguments(Experiment)
    parser.add_class_arguments(Trainer, "trainer", skip=OURS, instantiate=False)
    # Lightning's sanity check would answer questions with an untrained model, which rambles to every cap.
    parser.set_defaults({"trainer.num_sanity_val_steps": 0})
    parser.add_argument("--ckpt_path", type=str | None, help="Checkpoint to resume training from, or `last`.")
    return parser


def parse(argv: Sequence[str] | None, default: Path) -> Given:
    """Read the command line; without `--config` the file `default` is used.

    Raises:
        FileNotFoundError: the configuration file is not there.
        ValueError: an unknown key (the nearest known ones are named) or a bad value.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not any(a == "--config" or a.startswith("--config=") for a in arguments):
        arguments = ["--config", str(default.resolve()), *arguments]
    for name, value in zip(arguments, [*arguments[1:], ""], strict=True):
        path = name.partition("=")[2] if name.startswith("--config=") else value if name == "--config" else None
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"configuration file {path!r} does not exist; the shipped ones are in configs/")
    parser = make_parser()
    try:
        given = parser.parse_args(arguments)
        made = parser.instantiate_classes(given)
    except ArgumentError as error:
        raise ValueError(_explain(str(error), parser)) from error
    resolved = parser.dump(Namespace({k: v for k, v in given.items(branches=False) if k != "config"}), skip_none=False)
    names = Experiment.__dataclass_fields__
    experiment = Experiment(**{name: made[name] for name in names})
    return Given(experiment, dict(made.trainer), made.ckpt_path, resolved)


def known_keys(parser: ArgumentParser) -> list[str]:
    """Every dotted key the parser knows."""
    return sorted(parser.get_defaults().keys())


def _explain(message: str, parser: ArgumentParser) -> str:
    """Add the nearest known keys to a complaint about an unknown one."""
    inside = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
    alone = re.search(r"unrecognized arguments: --([\w.]+)|Option '([\w.]+)' is not accepted", message)
    if not (inside or alone):
        return message
    key = ".".join(inside.groups()) if inside else (alone[1] or alone[2] if alone else "")
    known = known_keys(parser)
    nested = re.search(r'^Parser key "([\w.]+)":.*?class_path \'([\w.]+)\'', message, re.DOTALL)
    if nested and (made := locate(nested[2])):  # an object inside a value, such as one of the stages
        key = f"{nested[1]}.{key}"
        known = [f"{nested[1]}.{name}" for name in signature(made).parameters]  # type: ignore[arg-type]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return f"unknown key {key!r}; the nearest known ones: {', '.join(near) or 'none'}"

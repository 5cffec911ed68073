"""Command line and YAML to an `Experiment`: one parser for all three scripts, so one file serves them all.

given = parse(["--config", "configs/miniworld.yaml", "--search.eps", "0.02"], Path("configs/miniworld.yaml"))
given.experiment.search.eps      # 0.02
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
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


def parse(argv: Sequence[str] | None, default: Path | None) -> Given:
    """Read the command line; without `--config` the file `default` is used, if there is one.

    Where nothing limits the training (epochs, steps, time), it takes one epoch.

    Raises:
        FileNotFoundError: the configuration file is not there.
        ValueError: an unknown key (the nearest known ones are named) or a bad value.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if default and not any(a == "--config" or a.startswith("--config=") for a in arguments):
        arguments = ["--config", str(default.resolve()), *arguments]
    files = _files(arguments)
    parser = make_parser()
    try:
        given = parser.parse_args(arguments)
        if (given.trainer.max_epochs, given.trainer.max_steps, given.trainer.max_time) == (None, -1, None):
            given.trainer.max_epochs = 1  # Lightning's own is 1000
        made = parser.instantiate(given)
    except (ArgumentError, ValueError) as error:
        message = _explain(str(error), parser)
        raise ValueError(f"{_place(message, files)}{message}") from error
    resolved = parser.dump(Namespace({k: v for k, v in given.items(branches=False) if k != "config"}), skip_unset=False)
    names = Experiment.__dataclass_fields__
    experiment = Experiment(**{name: made[name] for name in names})
    return Given(experiment, dict(made.trainer), made.ckpt_path, resolved)


def known_keys(parser: ArgumentParser) -> list[str]:
    """Every dotted key the parser knows."""
    return sorted(parser.get_defaults().keys())


def _files(arguments: Sequence[str]) -> list[Path]:
    """Files that may hold stages, the last one wins; none where stages are written on the command line itself."""
    found: list[Path] = []
    for argument, after in pairwise([*arguments, ""]):
        option, given, value = argument.partition("=")
        path = Path(value if given else after)
        if option == "--config" and not path.is_file():
            raise FileNotFoundError(f"configuration file '{path}' does not exist; the shipped ones are in configs/")
        if option == "--reasoning" and path.suffix in (".yaml", ".yml") and not path.is_file():
            raise FileNotFoundError(f"file of stages '{path}' does not exist; the shipped ones are in configs/stages/")
        if option in ("--config", "--reasoning"):
            found = [*found, path] if path.is_file() else []
        elif option.startswith("--reasoning.stages"):
            found = []
    return found


def _place(message: str, files: Sequence[Path]) -> str:
    """`file:line: ` of the field of a stage that a complaint is about; nothing where no file has it."""
    about = re.match(r"stage (.+?): (?:the )?(\w+)|unknown key 'reasoning\.stages\.(\w+)'", message)
    if about is None:
        return ""
    for path in reversed(files):
        for file, stage in reversed([*_stages(path)]):
            lines = {key.value: (key.start_mark.line + 1, value.value) for key, value in stage.value}
            if about[3] in lines or lines.get("name", (0, None))[1] == about[1]:
                return f"{file}:{lines.get(about[2] or about[3], lines.get('name', (1,)))[0]}: "
    return ""


def _stages(path: Path) -> Iterator[tuple[Path, yaml.MappingNode]]:
    """The stages written in a file, or in the file that its group `reasoning` names, each with the file."""
    top = yaml.compose(path.read_text(encoding="utf-8"))
    group = _under(top, "reasoning") or top
    if isinstance(group, yaml.ScalarNode):
        path = path.parent / group.value
        group = yaml.compose(path.read_text(encoding="utf-8"))
    stages = _under(group, "stages")
    for stage in stages.value if isinstance(stages, yaml.SequenceNode) else ():
        if isinstance(stage, yaml.MappingNode):
            yield path, stage


def _under(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return {k.value: v for k, v in node.value}.get(key) if isinstance(node, yaml.MappingNode) else None


def _explain(message: str, parser: ArgumentParser) -> str:
    """Add the nearest known keys to a complaint about an unknown one, and all there are where they are few."""
    inside = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
    alone = re.search(r"unrecognized arguments: --([\w.]+)|Option '([\w.]+)' is not accepted", message)
    if not (inside or alone):
        return message
    key = ".".join(inside.groups()) if inside else (alone[1] or alone[2] if alone else "")
    known = known_keys(parser)
    nested = re.search(r".*Parser key \"([\w.]+)\":.*?class_path '([\w.]+)'", message, re.DOTALL)
    rest = ""
    if nested and (made := locate(nested[2])):  # an object inside a value, such as one of the stages
        key = f"{nested[1]}.{key}"
        fields = list(signature(made).parameters)  # type: ignore[arg-type]
        known, rest = [f"{nested[1]}.{name}" for name in fields], f"; allowed here: {', '.join(fields)}"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return f"unknown key {key!r}; the nearest known ones: {', '.join(near) or 'none'}{rest}"

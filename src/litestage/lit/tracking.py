"""W&B in one place, offline by default. Nothing but results and settings goes there; keys stay in the environment.

with tracked(experiment, "search") as logger:
log_table(logger, "search/profile", ["stage", "budget"], rows)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from litestage.config import Experiment


@contextmanager
def tracked(experiment: Experiment, job: str) -> Iterator[WandbLogger | None]:
    """A W&B run for one step (`train`, `search`, `evaluate`), grouped by experiment; closed whatever happens.

    Yields `None` when `tracking.wandb` is `disabled`, and in all processes but the first.
    """
    if experiment.tracking.wandb == "disabled" or rank_zero_only.rank > 0:
        yield None
        return
    folder = Path(experiment.root) / experiment.run
    logger = WandbLogger(
        project=experiment.tracking.project,
        name=f"{experiment.run}-{job}",
        group=experiment.run,
        job_type=job,
        save_dir=str(folder),
        mode=experiment.tracking.wandb,
        config=asdict(experiment),
        settings=wandb.Settings(silent=True),
    )
    code = 1
    try:
        yield logger
        code = 0
    finally:
        wandb.finish(exit_code=code)


def log_values(logger: WandbLogger | None, values: dict[str, Any]) -> None:
    """Log numbers."""
    if logger is not None:
        logger.experiment.log(values)


def log_table(logger: WandbLogger | None, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Log a table."""
    if logger is not None:
        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        logger.experiment.log({name: table})


def log_figures(logger: WandbLogger | None, paths: Sequence[Path]) -> None:
    """Log PNG figures under their file names."""
    if logger is not None and paths:
        logger.experiment.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in paths})


def log_page(logger: WandbLogger | None, name: str, path: Path) -> None:
    """Log an HTML page that loads nothing, as it is."""
    if logger is not None:
        logger.experiment.log({name: wandb.Html(str(path), inject=False)})


def log_folder(logger: WandbLogger | None, name: str, kind: str, folder: Path) -> None:
    """Log a folder of small files as an artifact."""
    if logger is not None:
        artifact = wandb.Artifact(name, type=kind)
        artifact.add_dir(str(folder))
        logger.experiment.log_artifact(artifact)

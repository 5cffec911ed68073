"""Where a result was made: versions, device and command, without anything private.

Left out on purpose: environment variables, host names, user names and absolute paths.

    environment("cpu", "float32")["command"]     # "evaluate.py --config configs/miniworld.yaml"
"""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

import torch

import litestage

_SECRET_NAME = re.compile(r"(?i:keys?|token|secrets?|passw(or)?ds?|passphrase|credentials?|auth)(?![a-z])")
_SECRET_VALUE = re.compile(
    r"(?<![A-Za-z0-9])(hf_|sk-|gh[pousr]_|github_pat_|xox[a-z]-|AKIA|eyJ)[\w-]{8,}|^[0-9a-f]{32,}$", re.IGNORECASE
)
_URL = re.compile(r"(\w+://)[^\s,]+")
_FOLDERS = re.compile(r"(?:(?<![\w.])~?/|(?<!\w)[A-Za-z]:[\\/]|(?<![\w.])\\\\)(?:[^,;=:'\"\[\]{}]*[\\/])?")


def environment(device: str, dtype: str) -> dict[str, Any]:
    """The block `environment` of a results file.

    Args:
        device: where the model ran, such as `cpu` or `cuda:0`; a GPU's product name is added.
        dtype: number type of the weights, such as `float32`.
    """
    if device.startswith("cuda") and torch.cuda.is_available():
        device = f"{device} ({torch.cuda.get_device_name(device)})"
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "lightning": _version("lightning"),
        "litestage": litestage.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "git": git_commit(Path(litestage.__file__).parent),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
    }


def git_commit(package: Path) -> str | None:
    """Commit of the checkout that tracks the folder `package`, with `-dirty` if tracked files changed, else None."""
    commands = (
        ["git", "ls-files", "--error-unmatch", "__init__.py"],
        ["git", "describe", "--always", "--dirty", "--abbrev=64", "--exclude=*"],
    )
    found = ""
    for command in commands:
        try:
            done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        found = done.stdout.strip()
    return found or None


def command_line(argv: Sequence[str]) -> str:
    """Script name and arguments as one line that is safe to publish.

    Absolute paths lose their folders and addresses their host. The line ends with `...` at the first argument that
    names a secret (key, token, password and the like) or looks like one; what follows is dropped.
    """
    words = [PurePath(argv[0]).name] if argv else []
    for argument in argv[1:]:
        name, equals, _ = argument.partition("=")
        if _SECRET_VALUE.search(argument.rpartition("=")[2]) or _SECRET_VALUE.search(argument):
            return shlex.join(words) + " ..."
        if _SECRET_NAME.search(name):
            shown = f"{_shorten(name)}=" if equals else _shorten(name)
            return shlex.join([*words, shown]) + " ..."
        words.append(_shorten(argument))
    return shlex.join(words)


def _shorten(argument: str) -> str:
    """Keep the last part of absolute paths, and only the scheme of addresses."""
    parts = re.split(r"(\w+://\S*)", argument)
    return "".join(_URL.sub(r"\1...", part) if "://" in part else _FOLDERS.sub("", part) for part in parts)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

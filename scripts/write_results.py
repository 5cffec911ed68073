"""Write the tables and figures of committed results anew: in README.md, and in docs/results, a folder a run.

    python scripts/write_results.py                            # or: make results
    python scripts/write_results.py --add checkpoints/mine     # take in a finished run first
    python scripts/write_results.py --check                    # name stale pages, status 1

A run is taken in without weights, answers and logs. `litestage.report.markdown` says how a page asks for a table.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from litestage.report.figures import draw_all
from litestage.report.markdown import END, fill
from litestage.report.schema import read

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python scripts/write_results.py"
FILES = (
    "results.json",
    "search.json",
    "importance.json",
    "plan/*",
    "figures/*.png",
    "experiments/*.json",
    "experiments/*.png",
)
PAGE = """# {name}

<!-- results: full-table {name} -->
{end}

{figures}
"""


def stale(root: Path) -> dict[Path, str]:
    """Pages that are not what the runs' files say -> what they should be.

    Raises:
        ValueError: a page asks for what is not there, or a file of a run is damaged; names it.
    """
    folder = root / "docs" / "results"
    fresh = {page: fill(page, folder) for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]}
    return {page: text for page, text in fresh.items() if text != page.read_text(encoding="utf-8")}


def add(run: Path, root: Path) -> Path:
    """Copy what is small and public of a finished run; a page is begun where there is none. Returns the new folder.

    Raises:
        FileNotFoundError: the run has no `results.json`; names the command that makes it.
        ValueError: its `results.json` is damaged or of another version.
    """
    if not (run / "results.json").is_file():
        raise FileNotFoundError(f"{run / 'results.json'} is not there; run `python evaluate.py` for this run first")
    read(run / "results.json", "results")
    target = root / "docs" / "results" / run.resolve().name
    for path in (path for pattern in FILES for path in sorted(run.glob(pattern)) if path.is_file()):
        copy = target / path.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    if (run / "config.yaml").is_file():
        settings = _public(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
        (target / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    if not (target / "README.md").exists():
        figures = "\n".join(f"![{p.stem}](figures/{p.name})" for p in sorted((target / "figures").glob("*.png")))
        text = PAGE.format(name=target.name, end=END, figures=figures).rstrip() + "\n"
        (target / "README.md").write_text(text, encoding="utf-8")
    return target


def _public(value: Any) -> Any:
    """Settings without the folders of this machine: of an absolute path its last part stays."""
    if isinstance(value, dict):
        return {key: _public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_public(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def write(root: Path) -> list[Path]:
    """Draw the figures and write the pages anew; returns the pages that changed."""
    for results in sorted((root / "docs" / "results").glob("*/results.json")):
        draw_all(results.parent, lambda problem: print(f"figures stay as they are: {problem}", file=sys.stderr))
    changed = stale(root)
    for page, text in changed.items():
        page.write_text(text, encoding="utf-8")
    return list(changed)


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Do what is asked and name the pages that changed; bad input ends with its message, status 2."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the tables and figures of results anew.")
    parser.add_argument("--add", type=Path, metavar="RUN", help="folder of a finished run to take in")
    parser.add_argument("--check", action="store_true", help="change nothing; name stale pages, status 1")
    given = parser.parse_args(argv)
    try:
        if given.check:
            pages = list(stale(root))
        else:
            if given.add:
                new = add(given.add, root)
                print(f"{new.relative_to(root)}: say in its README.md what the run is for and what it says")
            pages = write(root)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for page in pages:
        print(page.relative_to(root))
    if given.check and pages:
        print(f"stale; run `{COMMAND}`", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

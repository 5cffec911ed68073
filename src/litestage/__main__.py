"""Commands for finished runs.

python -m litestage answer --run checkpoints/miniworld "Which of these conducts heat?" "a spoon" "a log"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from litestage.cli import answering


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends with its message, status 2."""
    parser = argparse.ArgumentParser(prog="python -m litestage", description="Commands for finished runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "answer one question under a plan, timed against full depth"
    command = commands.add_parser("answer", help=about, description=about)
    answering.add_arguments(command)
    command.set_defaults(do=answering.answer)
    given = parser.parse_args(argv)
    try:
        given.do(given)
    except (ValueError, OSError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

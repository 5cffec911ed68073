"""Make a run's page again from its files, without running anything.

python -m litestage.report checkpoints/miniworld
python -m litestage.report checkpoints/mine checkpoints/miniworld     # compare two runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from litestage.report.page import write_report


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and print where it is; bad input ends with its message, status 2."""
    parser = argparse.ArgumentParser(prog="python -m litestage.report", description="Write report.html about a run.")
    parser.add_argument("folder", type=Path, help="folder of the run, such as checkpoints/miniworld")
    parser.add_argument("other", type=Path, nargs="?", help="folder of a run to compare with")
    given = parser.parse_args(argv)
    try:
        print(write_report(given.folder, given.other))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

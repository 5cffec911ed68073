"""Find which sub-layers each stage may skip while decoding.

python search.py [--config configs/miniworld.yaml] [--help]
"""

from pathlib import Path

from litestage.cli import search

DEFAULT = Path(__file__).parent / "configs" / "miniworld.yaml"

if __name__ == "__main__":
    search(default=DEFAULT)

"""Compare the plan with full depth and AdaSkip on the test questions.

python evaluate.py [--config configs/miniworld.yaml] [--help]
"""

from pathlib import Path

from litestage.cli import evaluate

DEFAULT = Path(__file__).parent / "configs" / "miniworld.yaml"

if __name__ == "__main__":
    evaluate(default=DEFAULT)

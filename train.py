"""Fine-tune a model on staged reasoning and rank its sub-layers.

python train.py [--config configs/miniworld.yaml] [--help]
"""

from pathlib import Path

from litestage.cli import train

DEFAULT = Path(__file__).parent / "configs" / "miniworld.yaml"

if __name__ == "__main__":
    train(default=DEFAULT)

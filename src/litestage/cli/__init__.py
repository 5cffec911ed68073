"""What the three scripts do. Each reads the same YAML and writes into `<root>/<run>`.

python train.py                                   # the embedded default
python search.py --config configs/smollm2_obqa.yaml --search.eps 0.02
"""

from litestage.cli.evaluating import evaluate
from litestage.cli.searching import search
from litestage.cli.training import train

__all__ = ["evaluate", "search", "train"]

"""Training examples as tensors. The loss sits on the tokens of a stage's output and the end token only.

The examples of one row may share beginnings: then they form a tree whose every token appears once, attends to its own
ancestors only and keeps the position it has in its example. Each example sees exactly what it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from litestage.text.stages import Example


@dataclass(frozen=True)
class Tokens:
    """One example: the loss is on `ids[start:]`."""

    ids: list[int]
    start: int
    stage: int


def tokenize(tokenizer: Any, examples: Sequence[Example], stages: Sequence[str]) -> list[Tokens]:
    """Token ids of prompt, target and end token. A stage that is not in `stages` gets the index -1.

    The prompt is tokenized as it will be at inference; the target is cut out of the joint tokenization, so that its
    first word is spelled as the model would continue the prompt. (Where a joint token straddles the border, the target
    is tokenized alone.)
    """
    prompts = tokenizer([e.prompt for e in examples], verbose=False)["input_ids"]
    whole = tokenizer([e.prompt + e.target for e in examples], return_offsets_mapping=True, verbose=False)
    out = []
    for i, example in enumerate(examples):
        spans, border = whole["offset_mapping"][i], len(example.prompt)
        target = [token for token, (_, end) in zip(whole["input_ids"][i], spans, strict=True) if end > border]
        if any(start < border < end for start, end in spans):
            target = tokenizer(example.target, add_special_tokens=False)["input_ids"]
        ids = [*prompts[i], *target, tokenizer.eos_token_id]
        stage = stages.index(example.stage) if example.stage in stages else -1
        out.append(Tokens(ids, len(prompts[i]), stage))
    return out


def collate(rows: Sequence[Sequence[Tokens]], pad: int) -> dict[str, Tensor]:
    """One batch; every row is the tree of its examples.

    Returns:
        `input_ids`, `position_ids` `[B, T]`; `attention_mask` `[B, 1, T, T]` bool (rows of several examples) or
        `[B, T]` (one each); `decoded` `[B, T]`, the stage that will decode a token, -1 for prompts; and for each of
        the `N` tokens under the loss `rows`, `columns` (where it is predicted), `labels` (what it is) and `stages`
        (which stage it belongs to), `[N]`.
    """
    trees = [_Tree(row) for row in rows]
    width = max(len(tree.ids) for tree in trees)
    shape = (len(trees), width)
    ids = torch.full(shape, pad)
    positions = torch.zeros(shape, dtype=torch.long)
    decoded = torch.full(shape, -1)
    packed = any(len(row) > 1 for row in rows)
    mask = torch.zeros((shape[0], 1, width, width) if packed else shape, dtype=torch.bool)
    targets: list[tuple[int, int, int, int]] = []
    for b, tree in enumerate(trees):
        n = len(tree.ids)
        ids[b, :n], positions[b, :n] = torch.tensor(tree.ids), torch.tensor(tree.depths)
        decoded[b, :n] = torch.tensor(tree.stages)
        if packed:
            mask[b, 0] = torch.eye(width, dtype=torch.bool)  # a padded query must see something
            mask[b, 0, :n, :n] = tree.ancestors()
        else:
            mask[b, :n] = True
        targets += [(b, *target) for target in tree.targets]
    row, column, label, stage = torch.tensor(targets).unbind(1)
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": mask,
        "decoded": decoded,
        "rows": row,
        "columns": column,
        "labels": label,
        "stages": stage,
    }


class _Tree:
    """Examples merged at their shared beginnings; nodes in the order in which they appear."""

    def __init__(self, examples: Sequence[Tokens]) -> None:
        self.ids: list[int] = []
        self.depths: list[int] = []
        self.stages: list[int] = []  # that decodes the node, -1 for none
        self.targets: list[tuple[int, int, int]] = []  # (node that predicts, label, stage)
        self._parents: list[int] = []
        children: dict[tuple[int, int], int] = {}
        for example in examples:
            node = -1
            for depth, token in enumerate(example.ids):
                if depth >= example.start:
                    self.targets.append((node, token, example.stage))
                if depth == len(example.ids) - 1:
                    break  # the end token is predicted, never read
                key = (node, token)
                if key not in children:
                    children[key] = len(self.ids)
                    self.ids.append(token)
                    self.depths.append(depth)
                    self.stages.append(-1)
                    self._parents.append(node)
                node = children[key]
                if depth >= example.start:
                    self.stages[node] = example.stage

    def ancestors(self) -> Tensor:
        """Who may see whom: `[n, n]` bool, each node sees itself and what lies above it."""
        seen = torch.eye(len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

"""Pairs of sequences as a translator learns them: sources, shifted targets, and labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.data import Dataset

from ..token_ids import int32_ids

PADDING, START, END = 0, 2, 3
IGNORED = -1


def teacher_forcing(targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Teacher forcing: what a decoder reads, each token of the right answer, and what it is to write next.

    Source: Williams and Zipser 1989, https://doi.org/10.1162/neco.1989.1.2.270.

    Args:
        targets: token ids (B, T) padded with 0, each with the end token 3 behind its last token, and without a start
            token.

    Returns:
        `(target, labels)`, (B, T) int32 each: the targets behind the start token 2 without their last place, and the
        targets with -1 for the padding, which does not count.

    Raises:
        ArgumentError: targets are not whole numbers (B, T) of 0 or more.

    Example:
        >>> target, labels = teacher_forcing([[7, 8, 3, 0]])
        >>> target.tolist(), labels.tolist()
        ([[2, 7, 8, 3]], [[7, 8, 3, -1]])
    """
    targets = np.asarray(targets)
    if targets.ndim != 2 or targets.dtype.kind not in "iu" or (targets.size and targets.min() < 0):
        checks.refuse("targets must be token ids (B, T), 0 or more", f"{targets.dtype} {targets.shape}")
    targets = int32_ids(targets)
    start = np.full((len(targets), 1), START)
    shifted = np.concatenate([start, targets[:, :-1]], axis=1).astype(np.int32)
    return shifted, np.where(targets == PADDING, IGNORED, targets).astype(np.int32)


def check_pairs(data: Dataset, vocabulary: int) -> None:
    """Refuses data that a translator cannot learn or be measured on.

    Args:
        data: examples.
        vocabulary: K, tokens that the network writes.

    Raises:
        ArgumentError: they are not `{"source", "target"}` with labels, or a label is no token and not -1.
    """
    inputs, labels, _ = data.spec
    if not isinstance(inputs, Mapping) or set(inputs) != {"source", "target"} or labels is None:
        hint = "Make them of texts by task.ready(data, settings), or of ids by teacher_forcing."
        checks.refuse("data of a translator must be {'source', 'target'} with labels", data.name, hint)
    if data.any_order and isinstance(data.source.labels, np.ndarray) and data.source.labels.size:
        low, high = int(data.source.labels.min()), int(data.source.labels.max())
        if low < IGNORED or high >= vocabulary:
            checks.refuse(f"labels must be tokens from 0 to {vocabulary - 1}, or -1", (low, high))

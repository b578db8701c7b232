"""Packed rows: documents one behind the other in rows of one length, without room lost to padding.

Source: T5, https://arxiv.org/abs/1910.10683, section 3.1.2; the net that keeps documents apart is `packed_model` of
`kerasdl.sequence`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks

from ..adapters import as_dataset
from ..dataset import Dataset

IGNORED = -1


def pack_documents(documents: Sequence[Sequence[int]], length: int, *, end: int = 3, padding: int = 0) -> Dataset:
    """Packs documents into rows, each with the number of its document at each token.

    Documents keep their order. One that does not fit into what is left of a row is cut, and its rest is a document of
    the next row, which sees nothing of its beginning.

    Args:
        documents: token ids of each, without end token.
        length: T, tokens of a row.
        end: token behind each document.
        padding: token behind the last document.

    Returns:
        A dataset of `{"tokens": (T,) int32, "documents": (T,) int32}` with (T,) int32 labels, the next token of the
        same document or -1. Documents of a row count from 1; 0 is the padding.

    Raises:
        ArgumentError: `length` is below 2, a document is no list of whole numbers, or there is none.

    Example:
        >>> inputs, labels = pack_documents([[5, 6], [7]], 6).arrays()
        >>> inputs["tokens"].tolist(), inputs["documents"].tolist(), labels.tolist()
        ([[5, 6, 3, 7, 3, 0]], [[1, 1, 1, 2, 2, 0]], [[6, 3, -1, 3, -1, -1]])
    """
    checks.at_least("length", length, 2)
    if not len(documents):
        checks.refuse("documents must be one or more", 0)
    parts = [np.append(_ids(document), end).astype(np.int32) for document in documents]
    tokens, numbers = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    nexts = np.append(np.where(numbers[1:] == numbers[:-1], tokens[1:], IGNORED), IGNORED)
    spare = -len(tokens) % length
    rows = np.pad(tokens, (0, spare), constant_values=padding).reshape(-1, length)
    labels = np.pad(nexts, (0, spare), constant_values=IGNORED).reshape(-1, length).astype(np.int32)
    numbers = np.pad(numbers, (0, spare), constant_values=-1).reshape(-1, length)
    labels[:, -1] = IGNORED  # the next token stands in the next row
    owned = np.where(numbers < 0, 0, numbers - numbers[:, :1] + 1).astype(np.int32)
    return as_dataset(({"tokens": rows, "documents": owned}, labels))


def _ids(document: Any) -> np.ndarray:
    ids = np.asarray(document)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        checks.refuse("documents must be lists of token ids, whole numbers", f"{ids.dtype} {ids.shape}")
    return ids

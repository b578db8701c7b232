"""Checks of what people pass as texts or token ids, before anything is read in another way than they mean."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from kerasdl.core import checks

LIMIT = 2**31
NO_TOKEN = -1
"""Padding of a vocabulary in which each id is a token, as in those of GPT-2 and Llama 3."""
HINT = "Pass padding_id=0 where 0 is the padding, and padding_id=-1 where it is a token, as `!` of GPT-2."


def check_rows(raw: Any, rule: str) -> None:
    """Checks that raw input is a sequence of rows in their order.

    A mapping or a table would give its keys as texts, and a set its rows in any order.

    Raises:
        ArgumentError: it is another object; the text begins with `rule`.
    """
    if isinstance(raw, (Mapping, Set)) or hasattr(raw, "columns") or not hasattr(raw, "__len__"):
        checks.refuse(rule, type(raw).__name__, "Pass the list or the column that holds them.")


def int32_ids(ids: np.ndarray) -> np.ndarray:
    """Returns whole numbers in int32, which NumPy would fold to other numbers where they are too large.

    Raises:
        ArgumentError: one does not fit.
    """
    if ids.size and (int(ids.max()) >= LIMIT or int(ids.min()) < -LIMIT):
        largest = max(int(ids.max()), -int(ids.min()))
        checks.refuse("token ids must be below 2**31", largest, "Hashes are no ids: number the tokens.")
    return ids.astype(np.int32)


def padded_ids(rows: Sequence[np.ndarray], padding_id: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of token ids (B, P) int32, with 0 in the places of the padding, and the ids of each row (B,) int32.

    Args:
        rows: whole numbers, (P,) each.
        padding_id: id behind a row, which is no token of it; None where nobody said which.
        name: what the rows are called in an error.

    Raises:
        ArgumentError: the padding stands before an id, an id is negative, or a row ends with 0 and nobody said whether
            that is the padding.
    """
    padding = NO_TOKEN if padding_id is None else padding_id
    padded = np.full((len(rows), max(map(len, rows))), padding, np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = int32_ids(ids)
    counts = (padded != padding).sum(1)
    is_real = np.arange(padded.shape[1]) < counts[:, None]
    if (is_real != (padded != padding)).any():
        checks.refuse(f"{name} must have the padding, {padding}, behind them alone", padded[:1].tolist(), HINT)
    padded = np.where(is_real, padded, 0)
    if (padded < 0).any():
        checks.refuse(f"{name} must be token ids, 0 or more", int(padded.min()))
    last = np.take_along_axis(padded, np.maximum(counts - 1, 0)[:, None], axis=1)[:, 0]
    if padding_id is None and ((last == 0) & (counts > 0)).any():
        checks.refuse(f"{name} that end with 0 must come with padding_id", padded[(last == 0) & (counts > 0)][0], HINT)
    return padded, counts.astype(np.int32)

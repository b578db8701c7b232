"""Checks of what people pass as texts or token ids, before anything is read in another way than they mean."""

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from kerasdl.core import checks

LIMIT = 2**31


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

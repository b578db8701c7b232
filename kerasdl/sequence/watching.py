"""Watch over a text as it is written: texts that stop it, and a function that is told each token."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks


class Watch:
    """Watch over rows of tokens; it is false where it has nothing to do.

    Args:
        stop: texts that end a row.
        tokenizer: what decodes tokens to text; `stop` needs it.
        on_tokens: function of the new tokens (B,), or None.

    Raises:
        ArgumentError: `stop` is no list of texts, or comes without a tokenizer.

    Example:
        >>> bool(Watch((), None, None))
        False
    """

    def __init__(self, stop: Sequence[str], tokenizer: Any, on_tokens: Callable[[np.ndarray], Any] | None):
        if isinstance(stop, str) or not all(isinstance(each, str) and each for each in stop):
            checks.refuse("stop must be a list of texts", stop, "Give one text as [text].")
        if stop and tokenizer is None:
            checks.refuse("stop must come with a tokenizer", tuple(stop), "Pass tokenizer=.")
        self.stop, self.tokenizer, self.on_tokens = tuple(stop), tokenizer, on_tokens

    def __bool__(self) -> bool:
        return bool(self.stop) or self.on_tokens is not None

    def __call__(self, written: np.ndarray, is_over: np.ndarray) -> np.ndarray:
        """Tells the last column of tokens (B, L), and returns which rows (B,) a text stops."""
        if self.on_tokens is not None:
            self.on_tokens(written[:, -1].copy())
        stopped = np.zeros(len(written), bool)
        for row in np.flatnonzero(~is_over) if self.stop else ():
            text = self.tokenizer.decode(written[row].tolist())
            stopped[row] = any(each in text for each in self.stop)
        return stopped

"""Looks for values that are not finite, and names the very step, though it may look at several steps at once."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from .state import Figures, State


class NumberWatch:
    """Follows the watched values of each step."""

    def __init__(self, state: State):
        self.state = state
        self.pending: list[tuple[int, Mapping[str, Any]]] = []
        self.last: Figures = {}
        # Reading a value waits for the step to be computed: free on a CPU, a stall of the queue on a GPU.
        self.every = 16 if tf.config.list_physical_devices("GPU") else 1

    def add(self, step: int, values: Mapping[str, Any], give_up: Callable[[str], None]) -> None:
        """Takes the values of a step, or of several that end with it; calls `give_up` if one is not finite."""
        self.pending.append((step, {name: values[name] for name in self.state.watched if name in values}))
        if len(self.pending) >= self.every:
            self.check(give_up)

    def check(self, give_up: Callable[[str], None]) -> None:
        """Looks at what was added."""
        for last_step, values in self.pending:
            rows = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in values.items()}
            count = max(map(len, rows.values()), default=0)
            for place in range(count):
                found = {name: float(row[place]) for name, row in rows.items()}
                if not all(map(math.isfinite, found.values())):
                    give_up(self._describe(last_step - count + 1 + place, found))
                self.last = found
        self.pending.clear()

    def _describe(self, step: int, found: Figures) -> str:
        bad = " and ".join(name for name, value in found.items() if not math.isfinite(value))
        before = {name: f" (last finite: {value:.4g})" for name, value in self.last.items()}
        values = ", ".join(f"{name} {value:.4g}{before.get(name, '')}" for name, value in found.items())
        if "gradient_norm" not in found:
            values += ", gradient_norm unknown to this step"
        return f"{bad} not finite at step {step}: {values}, learning rate {self.state.learning_rate(step):.4g}"

"""NaN guard: finds the step at which a loss or gradient norm is no longer finite."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from .state import Figures, State


class NanGuard:
    """Check of the values of each step that must stay finite.

    Values of several steps may be read together; the message names the exact step.
    """

    def __init__(self, state: State):
        self.state = state
        self.pending: list[tuple[int, Mapping[str, Any]]] = []
        self.last_finite: Figures = {}
        # Reading a value waits for the step to be computed: free on a CPU, a stall of the queue on a GPU.
        self.check_every = 16 if tf.config.list_physical_devices("GPU") else 1

    def add(self, step: int, values: Mapping[str, Any], on_failure: Callable[[str], None]) -> None:
        """Adds the values of a step, or of several that end with it; calls `on_failure` where one is not finite."""
        self.pending.append((step, {name: values[name] for name in self.state.must_be_finite if name in values}))
        if len(self.pending) >= self.check_every:
            self.check(on_failure)

    def check(self, on_failure: Callable[[str], None]) -> None:
        """Checks the values added since the last check."""
        for last_step, values in self.pending:
            rows = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in values.items()}
            count = max(map(len, rows.values()), default=0)
            for index in range(count):
                figures = {name: float(row[index]) for name, row in rows.items()}
                if not all(map(math.isfinite, figures.values())):
                    on_failure(self._describe(last_step - count + 1 + index, figures))
                self.last_finite = figures
        self.pending.clear()

    def _describe(self, step: int, figures: Figures) -> str:
        failed = " and ".join(name for name, value in figures.items() if not math.isfinite(value))
        before = {name: f" (last finite: {value:.4g})" for name, value in self.last_finite.items()}
        values = ", ".join(f"{name} {value:.4g}{before.get(name, '')}" for name, value in figures.items())
        if "gradient_norm" not in figures:
            values += ", gradient_norm unknown to this step"
        return f"{failed} not finite at step {step}: {values}, learning rate {self.state.learning_rate(step):.4g}"

"""A tiny net with examples and its outputs, built once for all rows of a process."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import get_task


@dataclass(frozen=True)
class Net:
    """A tiny preset with filled weights."""

    spec: kerasdl.ModelSpec
    model: keras.Model
    inputs: np.ndarray
    """Four examples."""
    targets: np.ndarray
    outputs: np.ndarray
    """What the model gives for the inputs."""
    initial: list[np.ndarray]
    """The weights with which it was built."""

    @contextmanager
    def untrained(self) -> Iterator[keras.Model]:
        """Gives the model with the weights with which it was built, to be trained; then it gets its own back."""
        filled = self.model.get_weights()
        self.model.set_weights(self.initial)
        try:
            yield self.model
        finally:
            self.model.set_weights(filled)


@pytest.fixture
def net():
    """Gives the tiny net of a registered name."""
    return _net


@functools.cache
def _net(name: str) -> Net:
    spec = kerasdl.spec(name)
    model = kerasdl.build(name, **spec.tiny)
    initial = model.get_weights()
    inputs, targets = get_task(spec.task).example(fill_weights(model), 4, 0)
    return Net(spec, model, inputs, targets, model(inputs, training=False).numpy(), initial)

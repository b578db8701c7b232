"""Nets of any size without memory for their weights, to be counted and looked at but not run."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras.src.backend.common import global_state  # Keras has no public name for what it means to fill later


@contextmanager
def unallocated() -> Iterator[None]:
    """Context in which models are built without values; Keras does not initialise them afterwards either."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])

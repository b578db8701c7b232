"""Fixtures of the contract: the same seeds, and tiny nets that are built once."""

import random

import keras
import numpy as np
import pytest
from tiny_nets import tiny_net


@pytest.fixture(autouse=True)
def _same_start():
    """Seeds what Keras draws its seeds from; TensorFlow's own seed would make it forget its kernels in each test."""
    random.seed(0)
    np.random.seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def net():
    """Gives the tiny net of a registered name."""
    return tiny_net

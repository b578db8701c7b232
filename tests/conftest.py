"""Fixtures of every test: one seed, Keras's own dtype policy, and tiny models by name."""

import functools
import gc
import os
import random
from types import SimpleNamespace
from unittest import mock

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import lanes
import matplotlib
import pytest
import shares
import tensorflow as tf
from filling import fill_weights
from hypothesis import settings
from tensorflow.lite.python import lite
from tensorflow.python.eager import context

matplotlib.use("Agg")
os.environ.pop("COLUMNS", None)  # pytest's workers have that of a terminal of 80 columns
pytest.register_assert_rewrite("contract_rows")
# Every traced graph is a heap of objects that point at one another: at its own pace Python would look through all of
# them for a tenth of the time and more.
gc.freeze()
gc.set_threshold(50_000, 20, 20)
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
SET_SEED = tf.random.set_seed
lite.gc = SimpleNamespace(collect=lambda: 0)  # TensorFlow's converter looks through them after each model


def _restart_operation_seeds(seed: int) -> None:
    """Does what `tf.random.set_seed` does, which also forgets TensorFlow's compiled kernels, a tenth of the time."""
    if context.context()._seed != seed:
        SET_SEED(seed)
    context.context()._rng = random.Random(seed)


@pytest.fixture(autouse=True)
def _same_start():
    """Every test starts from one seed and leaves no dtype policy behind."""
    with mock.patch.object(tf.random, "set_seed", _restart_operation_seeds):
        keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@functools.cache
def _tiny(name: str) -> keras.Model:
    return fill_weights(kerasdl.build(name, **kerasdl.spec(name).tiny))


@pytest.fixture
def tiny():
    """Gives the tiny preset of a registered model by name, its weights filled by `fill_weights`; not to be trained."""
    return _tiny


def pytest_addoption(parser):
    parser.addoption("--lanes", action="store_true", help="CPU time by folder beside its budget, and the longest tests")
    parser.addoption(
        "--record-times", action="store_true", help="with --lanes: keep times of cases in tests/times.json"
    )


def pytest_configure(config):
    config.pluginmanager.register(shares, "shares")
    if config.getoption("--lanes"):
        config.pluginmanager.register(lanes, "lanes")

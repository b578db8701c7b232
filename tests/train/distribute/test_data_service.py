"""Served data: the batches of arrays, bit for bit, computed by other processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import as_dataset
from kerasdl.data.batching.sharding import Share
from kerasdl.train import RunConfig, fit
from kerasdl.train.distribute import data_service

ROOT = Path(__file__).parents[3]
SIZE, BATCH = 53, 7


def decode(number):
    return tf.math.tanh(tf.random.stateless_normal((4,), [number, 0]))


def augment(image, seed):
    return image + tf.random.stateless_uniform(image.shape, seed)


@pytest.fixture(scope="module")
def addresses():
    with data_service.data_servers(2) as found:
        yield found


@pytest.fixture(scope="module")
def labels():
    return np.arange(SIZE) % 2


@pytest.fixture(scope="module")
def plain(labels):
    """The oracle: the same examples, decoded here one by one."""
    return as_dataset((np.stack([decode(number).numpy() for number in range(SIZE)]), labels))


@pytest.fixture(scope="module", params=[1, 2])
def served(request, addresses, labels):
    return data_service.served(np.arange(SIZE, dtype=np.int32), labels, decode, addresses[: request.param])


def same(first, second):
    first, second = (tf.nest.flatten(list(batches)) for batches in (first, second))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shuffle": True, "seed": 3, "epoch": 2},
        {"shuffle": True, "seed": 3, "epoch": 1, "start": 3, "augment": augment},
        {"start": 8},
        {"share": Share(1, 2, 3), "shuffle": True, "augment": augment},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_served_batches_are_those_of_arrays(plain, served, settings):
    ours, theirs = (each.batches(BATCH, **settings) for each in (served, plain))
    assert ours.element_spec == theirs.element_spec
    same(ours, theirs)


def test_two_trainers_have_every_example_once(served, labels):
    parts = [served.batches(BATCH, shuffle=True, share=Share(worker, 1, 2)) for worker in (0, 1)]
    found = [y.numpy() for batches in parts for (((_, y), weight),) in batches]
    assert len(np.concatenate(found)) == SIZE
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.sort(labels))


def test_steps_and_arrays_and_few(plain, served):
    assert served.steps(BATCH) == plain.steps(BATCH) == 8
    np.testing.assert_array_equal(served.arrays()[0], plain.arrays()[0])
    np.testing.assert_array_equal(served.take(9).arrays()[0], plain.take(9).arrays()[0])
    assert served.fingerprint()


class StopError(Exception):
    """Ends a run in the middle of an epoch."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise StopError


def test_it_trains_as_arrays_do_and_resumes_inside_an_epoch(plain, served, toy, tmp_path):
    settings = {"epochs": 2, "batch_size": BATCH, "learning_rate": 1e-2, "augment": augment, "progress": "off"}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def trained(data, stop=None, **more):
        keras.utils.set_random_seed(1)
        model, config = toy.model(), RunConfig(**settings, **more)
        run = fit(model, data, loss=loss, callbacks=[StopAt(stop)], config=config)
        return toy.digest(model), run.resumed

    whole, _ = trained(plain)
    assert trained(served) == (whole, False)
    kept = {"folder": tmp_path / "run", "save_every": 5}
    with pytest.raises(StopError):
        trained(served, stop=11, **kept)
    assert trained(served, **kept) == (whole, True)


@pytest.mark.parametrize(
    ("inputs", "function", "given", "error", "text"),
    [
        (np.arange(3), decode, None, DataError, "one length, 1 or more; got 3 and 2"),
        (np.arange(2), decode, "localhost:1", ArgumentError, "addresses must list host:port"),
        (np.arange(2), decode, ["localhost"], ArgumentError, "addresses must list host:port"),
        (np.arange(2), lambda k: tf.numpy_function(np.sin, [k], tf.float32), None, ArgumentError, "operations alone"),
        (np.arange(2), lambda k: (k, k), None, ArgumentError, "one tensor of a known shape"),
        (np.array(["a", "b"]), tf.io.read_file, None, None, ""),
        (np.array(["a", "b"]), lambda p: tf.io.decode_jpeg(tf.io.read_file(p)), None, ArgumentError, "known shape"),
    ],
)
def test_what_cannot_be_served_is_refused(inputs, function, given, error, text):
    given = ["localhost:1"] if given is None else given
    if error is None:
        assert data_service.served(inputs, np.arange(2), function, given).input_dtype == "string"
        return
    with pytest.raises(error, match=text):
        data_service.served(inputs, np.arange(2), function, given)


def test_augmentation_in_python_is_refused(served):
    def turned(image, seed):
        return tf.numpy_function(np.flip, [image], tf.float32)

    with pytest.raises(ArgumentError, match="augment must be of TensorFlow operations alone"):
        served.batches(BATCH, augment=turned)


def test_ports_that_cannot_be_served_are_refused():
    with pytest.raises(ArgumentError, match="port must be"):
        data_service.serve_data(80)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(DataError, match="cannot be served"):
            data_service.serve_data(taken.getsockname()[1])


LOSES_ITS_SERVER = """
import os, sys, threading, time
import kerasdl, numpy as np, tensorflow as tf
from kerasdl.train.distribute.data_service import data_servers, served

def kill():
    time.sleep(2)
    children = [int(line) for line in open(f"/proc/self/task/{os.getpid()}/children").read().split()]
    os.kill(children[-1], 9)

with data_servers(1) as addresses:
    data = served(np.arange(10**6, dtype=np.int32), np.zeros(10**6), lambda k: tf.zeros(3), addresses)
    threading.Thread(target=kill).start()
    for batch in data.batches(1):
        pass
"""


@pytest.mark.slow
def test_a_dead_server_ends_the_process_rather_than_hang_it():
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", LOSES_ITS_SERVER], env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr == "error: data server 0 ended with exit code -9; so does this process.\n"

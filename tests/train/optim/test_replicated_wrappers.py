"""Wrappers and averages under a MirroredStrategy over two logical CPUs, split before TensorFlow starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasdl

SCRIPT = Path(__file__).with_name("replicated_run.py")


@pytest.fixture(scope="module")
def found():
    path = os.pathsep.join(filter(None, [str(Path(kerasdl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    run = subprocess.run([sys.executable, SCRIPT], env=environment, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])["found"]


def flat(values):
    return np.concatenate([np.ravel(value) for value in values])


@pytest.mark.parametrize("name", ["lookahead", "averages", "loss scale", "sharpness aware"])
def test_replicas_agree_with_each_other_and_with_one_device(found, name):
    one, two = found[name]["one"], found[name]["two"]
    for part in one:
        (alone,), (first, second) = one[part], two[part]
        np.testing.assert_array_equal(flat(first), flat(second), err_msg=part)
        np.testing.assert_allclose(flat(first), flat(alone), rtol=1e-5, atol=1e-6, err_msg=part)


def test_averages_are_swapped_in_and_out_on_each_replica(found):
    for place in found["averages"].values():
        assert place["after"] == place["weights"]
        assert not np.allclose(flat(place["averaged"][0]), flat(place["weights"][0]))
    assert not np.allclose(flat(found["averages"]["one"]["mean"][0]), flat(found["averages"]["one"]["weights"][0]))

"""DeepLabV3, LR-ASPP, SegFormer and its encoder with the weights of torchvision and transformers: the same logits.

Frozen answers of small peers stand in tests/frozen/segmenters; where torch is installed peers are built here too.
"""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import semantic_peers as peers
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import WeightsError

PACKAGES = ("torch", "torchvision", "transformers")
PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)


def answers_of(case, path):
    """Returns the outputs of our network with the weights of a file."""
    arguments = {"image_shape": (*case.size, 3), "classes": case.classes, **case.arguments}
    network = kerasdl.build(case.ours, **arguments)
    assert kerasdl.import_weights(network, path).numbers == network.count_params()
    given = network(peers.image_of(case)[None], training=False)
    given = given if isinstance(given, dict) else {"logits": given}
    return {name: np.asarray(value)[0] for name, value in given.items()}


def compare(given, expected):
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert np.std(value) > 0.05, "constant logits prove nothing"
        np.testing.assert_allclose(given[name], value, rtol=0, atol=1e-4 * max(1.0, np.abs(value).max()), err_msg=name)


def frozen(name):
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        return json.loads(str(file["shapes"])), {key: file[key] for key in file if key != "shapes"}


def write(path, shapes):
    write_safetensors(path, {key: peers.array_of(key, tuple(shape)) for key, shape in shapes.items()})


@pytest.mark.parametrize("name", peers.SMALL)
def test_frozen_answers(name, tmp_path):
    shapes, expected = frozen(name)
    write(tmp_path / "model.safetensors", shapes)
    given = answers_of(peers.SMALL[name], tmp_path / "model.safetensors")
    compare({key: peers.sampled(value) for key, value in given.items()}, expected)


@functools.cache
def has_peers():
    find = f"import importlib.util as util; raise SystemExit(not all(map(util.find_spec, {PACKAGES})))"
    return subprocess.run([PYTHON, "-c", find]).returncode == 0


@pytest.mark.parametrize(
    ("size", "name"),
    [("SMALL", name) for name in peers.SMALL]
    + [pytest.param("FULL", name, marks=pytest.mark.slow) for name in peers.FULL],
)
def test_answers_of_the_peer(size, name, tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    if not has_peers():
        pytest.skip(f"{PACKAGES} are needed to build the peer, here or in the Python that PEERS_PYTHON names")
    subprocess.run([PYTHON, peers.__file__, size, name, tmp_path], check=True, capture_output=True)
    with np.load(tmp_path / "answers.npz") as file:
        expected = dict(file)
    compare(answers_of(getattr(peers, size)[name], tmp_path / "model.safetensors"), expected)


def test_a_net_for_other_classes_keeps_its_last_layers(tmp_path):
    path = tmp_path / "model.safetensors"
    write(path, frozen("segformer")[0])
    network = kerasdl.build("segformer_b0", image_shape=(64, 64, 3), classes=5, **peers.SMALL["segformer"].arguments)
    before = network.get_layer("logits").kernel.numpy()
    report = kerasdl.import_weights(network, path)
    assert not report.head
    np.testing.assert_array_equal(network.get_layer("logits").kernel, before)
    kernel = peers.array_of("decode_head.linear_c.1.proj.weight", (32, 24))
    np.testing.assert_array_equal(network.get_layer("stride8_project").kernel, kernel.T)


def test_a_net_that_pads_otherwise_is_refused(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"classifier.cbr.0.weight": np.zeros(3, "float32")})
    network = kerasdl.build("lraspp", **kerasdl.spec("lraspp").tiny)
    with pytest.raises(WeightsError, match=r"'stem_conv' pads as TensorFlow does. Build the model with padding='sym"):
        kerasdl.import_weights(network, tmp_path / "model.safetensors")

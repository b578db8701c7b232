"""Segmenters with the weights of torchvision and segmentation_models: the same logits.

Frozen answers of small peers stand in tests/frozen/segmenters; where torch is installed peers are built here too.
"""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import segmenter_peers as peers
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import ArgumentError

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)


def filled(case, path):
    """Builds our network of a case with all weights of a file."""
    network = kerasdl.build(case.ours, image_shape=(*case.size, 3), classes=peers.CLASSES, **case.arguments)
    report = kerasdl.import_weights(network, path)
    assert report.numbers == network.count_params()
    return network


def answers_of(case, network):
    given = network(peers.image_of(case)[None], training=False)
    named = given if isinstance(given, dict) else {"logits": given}
    return {name: np.asarray(value)[0] for name, value in named.items()}


def compare(given, expected):
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert np.std(value) > 1e-2, "constant logits prove nothing"
        np.testing.assert_allclose(given[name], value, rtol=0, atol=1e-4 * max(1.0, np.abs(value).max()), err_msg=name)


def frozen(name):
    """Returns the answers of a small peer, and its arrays by the formula."""
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        shapes = json.loads(str(file["shapes"]))
        answers = {key: file[key] for key in file if key != "shapes"}
    return answers, {key: peers.array_of(key, tuple(shape)) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", peers.SMALL)
def test_frozen_answers(name, tmp_path):
    case, (expected, arrays) = peers.SMALL[name], frozen(name)
    write_safetensors(tmp_path / "model.safetensors", arrays)
    given = answers_of(case, filled(case, tmp_path / "model.safetensors"))
    compare({key: peers.sampled(value) for key, value in given.items()}, expected)


@functools.cache
def has_peer(package):
    find = f"import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', {package!r}))))"
    return subprocess.run([PYTHON, "-c", find]).returncode == 0


@pytest.mark.parametrize(
    ("size", "name"),
    [("SMALL", name) for name in peers.SMALL]
    + [pytest.param("FULL", name, marks=pytest.mark.slow) for name in peers.FULL],
)
def test_answers_of_the_peer(size, name, tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    case = getattr(peers, size)[name]
    if not has_peer(case.package):
        pytest.skip(f"{case.package} is needed to build the peer, here or in the Python that PEERS_PYTHON names")
    subprocess.run([PYTHON, peers.__file__, size, name, tmp_path], check=True, capture_output=True)
    with np.load(tmp_path / "answers.npz") as file:
        expected = dict(file)
    compare(answers_of(case, filled(case, tmp_path / "m.safetensors")), expected)


def test_a_network_for_other_classes_keeps_its_last_layers(tmp_path):
    _, arrays = frozen("fcn_resnet50")
    write_safetensors(tmp_path / "model.safetensors", arrays)
    network = kerasdl.build("fcn_resnet50", image_shape=(64, 64, 3), classes=5, **peers.SHALLOW)
    before = network.get_layer("logits").kernel.numpy()
    report = kerasdl.import_weights(network, tmp_path / "model.safetensors")
    assert not report.head
    np.testing.assert_array_equal(network.get_layer("logits").kernel, before)
    np.testing.assert_array_equal(network.get_layer("logits_reduce_bn").gamma, arrays["classifier.1.weight"])


def test_files_of_another_architecture_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"decoder.blocks.0.conv1.0.weight": np.zeros(3, "float32")})
    with pytest.raises(ArgumentError, match=r"a checkpoint for 'fcn_resnet' must be of one of .*'unet_on_backbone'"):
        kerasdl.import_weights(kerasdl.build("fcn_resnet50", **kerasdl.spec("fcn_resnet50").tiny), path)

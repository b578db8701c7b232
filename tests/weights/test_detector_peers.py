"""Detectors with the weights of torchvision and Hugging Face: the same raw heads, and the same boxes after suppression.

Frozen answers of small peers stand in tests/frozen/detectors; where torch is installed peers are built here too.
"""

import functools
import json
import os
import re
import subprocess
import sys

import detector_peers as peers
import keras
import numpy as np
import pytest
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import ArgumentError, WeightsError
from kerasdl.vision import detector_peers
from kerasdl.vision.detection.detector import suppressed
from kerasdl.vision.detection.method import flattened
from kerasdl.vision.detection.methods import METHODS
from kerasdl.vision.detection.two_stage import faster_rcnn
from kerasdl.weights import torch_checkpoints, torch_layers

PACKAGES = ("torch", "torchvision", "transformers")
PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)


def filled(case, path):
    """Builds our networks of a case with weights of a file."""
    named = {} if case.ours in peers.TWO_STAGE else {"classes": case.classes}
    networks = [kerasdl.build(case.ours, image_shape=(*case.size, 3), **named, **case.arguments)]
    if case.ours in peers.TWO_STAGE:
        arguments = {name: case.arguments[name] for name in ("strides", "channels") if name in case.arguments}
        networks.append(kerasdl.build("faster_rcnn_box_head", classes=case.classes, **arguments))
    if case.ours == "mask_rcnn":
        arguments |= peers.SMALL_MASK_HEAD if case.arguments else {}
        networks.append(kerasdl.build("mask_rcnn_mask_head", classes=case.classes, **arguments))
    taken = sum(kerasdl.import_weights(network, path).numbers for network in networks)
    assert taken == sum(network.count_params() for network in networks)
    return networks


def answers_of(case, networks, proposals=None):
    """Returns raw heads of our networks, flattened, and their boxes; a box head takes the peer's proposals."""
    heads = networks[0](peers.image_of(case)[None], training=False)
    if case.ours in peers.TWO_STAGE:
        return of_two_stages(case, networks[1:], heads, proposals)
    method = METHODS[networks[0].name]
    if case.ours == "detr":
        given = dict(heads)
    elif case.ours.startswith("ssd"):
        given = {"classes": method.logits(heads), "boxes": flattened(heads, "boxes", 4)}
    else:
        widths = {"classes": case.classes, "boxes": 4} | ({"centredness": 1} if case.ours == "fcos" else {})
        given = {name: flattened(heads, name, width) for name, width in widths.items()}
    return {name: np.asarray(value)[0] for name, value in given.items()} | found_by(case, method, heads)


def of_two_stages(case, of_regions, heads, proposals):
    method, box_head = faster_rcnn.FasterRCNNMethod(), of_regions[0]
    maps = {name: value for name, value in heads.items() if name.startswith("region_maps")}
    theirs = keras.ops.convert_to_tensor(proposals[None])
    of_peer = box_head({**maps, "proposals": theirs}, training=False)
    for mask_head in of_regions[1:]:
        of_peer |= mask_head({**maps, "proposals": theirs[:, : peers.MASKS]}, training=False)
    own = method.rpn.proposals(heads, case.size)
    after = {**box_head({**maps, "proposals": own}, training=False), "proposals": own}
    own = np.asarray(own)[0]
    given = {"objectness": flattened(heads, "objectness", 1), "offsets": flattened(heads, "offsets", 4), **of_peer}
    answers = {name: np.asarray(value)[0] for name, value in given.items()}
    return answers | {"proposals": own[own[:, 2] > own[:, 0]]} | found_by(case, method, after)


def found_by(case, method, heads):
    boxes, scores, classes, count = suppressed(method, heads, case.size, case.min_score, None, peers.MAX_BOXES, False)
    kept = slice(int(count[0]))
    found = {"boxes": boxes, "scores": scores, "classes": classes}
    return {f"found_{name}": np.asarray(value)[0, kept] for name, value in found.items()}


def compare(case, given, expected):
    for name, value in expected.items():
        if name in peers.HEAD_NAMES:
            bound = 1e-4 * max(1.0, np.abs(value).max())
            np.testing.assert_allclose(given[name], value, rtol=0, atol=bound, err_msg=name)
    if "proposals" in expected:
        near = np.abs(given["proposals"][:, None] - expected["proposals"][None]).max(axis=-1)
        assert_paired(near / max(case.size))
    assert len(expected["found_scores"]) >= 50
    gaps = np.abs(given["found_boxes"][:, None] - expected["found_boxes"][None]).max(axis=-1) / max(case.size)
    scores = np.abs(given["found_scores"][:, None] - expected["found_scores"][None])
    same = given["found_classes"][:, None] == expected["found_classes"][None]
    assert_paired(np.where(same, np.maximum(gaps, scores), np.inf))


def assert_paired(gaps):
    """Asserts that each box has its like one on the other side."""
    assert len(gaps) == len(gaps.T)
    assert max(gaps.min(axis=0).max(), gaps.min(axis=1).max()) < 1e-3


@pytest.mark.parametrize("name", peers.SMALL)
def test_frozen_answers(name, tmp_path):
    case = peers.SMALL[name]
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        expected = {key: file[key] for key in file if key != "shapes"}
    arrays = {key: peers.array_of(key, tuple(shape)) for key, shape in shapes_of(name).items()}
    write_safetensors(tmp_path / "model.safetensors", arrays)
    given = answers_of(case, filled(case, tmp_path / "model.safetensors"), expected.get("proposals"))
    compare(case, {k: peers.sampled(value) if k in peers.HEAD_NAMES else value for k, value in given.items()}, expected)


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
    case = getattr(peers, size)[name]
    with np.load(tmp_path / "answers.npz") as file:
        expected = dict(file)
    given = answers_of(case, filled(case, tmp_path / "model.safetensors"), expected.get("proposals"))
    compare(case, given, expected)


def shapes_of(name):
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        return json.loads(str(file["shapes"]))


OLD = {  # a name today, and in the files that torchvision published
    "retinanet": (
        (r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1."),
        (r"(_head\.conv)\.(\d)\.0\.", lambda match: f"{match[1]}.{2 * int(match[2])}."),
    ),
    "faster_rcnn": ((r"(fpn\.\w+_blocks\.\d)\.0\.", r"\1."), (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv.")),
    "mask_rcnn": ((r"(mask_head\.)(\d)\.0\.", lambda match: f"{match[1]}mask_fcn{int(match[2]) + 1}."),),
}


@pytest.mark.parametrize("name", OLD)
def test_names_of_older_files_are_those_of_today(name):
    arrays = {key: np.float32(place) for place, key in enumerate(shapes_of(name))}
    old = dict(arrays)
    for pattern, replacement in OLD[name]:
        old = {re.sub(pattern, replacement, key): value for key, value in old.items()}
    assert old.keys() != arrays.keys()
    maps = {"faster_rcnn": detector_peers.FASTER_RCNN, "mask_rcnn": detector_peers.MASK_RCNN_MASK_HEAD}
    peer = maps.get(name, detector_peers.RETINANET)
    assert torch_checkpoints.renamed(old, peer) == arrays


def test_a_net_that_pads_otherwise_and_places_elsewhere_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"backbone.extra.0.0.0.weight": np.zeros(3, "float32")})
    with pytest.raises(WeightsError, match=r"'stem_conv' pads as TensorFlow does. Build the model with padding='sym"):
        kerasdl.import_weights(kerasdl.build("ssdlite320", **kerasdl.spec("ssdlite320").tiny), path)
    write_safetensors(path, {"head.classification_head.cls_logits.weight": np.zeros(3, "float32")})
    with pytest.raises(ArgumentError, match=r"a checkpoint for 'fcos' must be of one of .*'fcos_corners'"):
        kerasdl.import_weights(kerasdl.build("fcos", **kerasdl.spec("fcos").tiny), path)


@pytest.mark.parametrize("groups", [None, 8])
def test_the_second_form_of_retinanet_is_refused_by_name(groups, tmp_path):
    """Its towers have norms in place of biases, and its stride 64 reads the backbone."""
    shapes = dict(shapes_of("retinanet"))
    for key in [each for each in shapes if re.search(r"_head\.conv\.\d\.0\.bias", each)]:
        size = shapes.pop(key)
        shapes |= {key.replace(".0.bias", f".1.{part}"): size for part in ("weight", "bias")}
    of_stride64 = shapes["backbone.fpn.extra_blocks.p6.weight"]
    shapes["backbone.fpn.extra_blocks.p6.weight"] = [of_stride64[0], 8 * of_stride64[1], *of_stride64[2:]]
    path, case = tmp_path / "model.safetensors", peers.SMALL["retinanet"]
    write_safetensors(path, {key: np.zeros(shape, "float32") for key, shape in shapes.items()})
    arguments = {**case.arguments, "groups": groups}
    network = kerasdl.build("retinanet", image_shape=(*case.size, 3), classes=case.classes, **arguments)
    before = network.get_weights()
    with pytest.raises(WeightsError, match="retinanet_resnet50_fpn_v2, whose stride 64 is made of the backbone"):
        kerasdl.import_weights(network, path)
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_box_head_for_other_classes_keeps_its_last_layers(tmp_path):
    path = tmp_path / "model.safetensors"
    shapes = {key: shape for key, shape in shapes_of("faster_rcnn").items() if key.startswith("roi_heads")}
    arrays = {key: peers.array_of(key, tuple(shape)) for key, shape in shapes.items()}
    write_safetensors(path, arrays)
    network = kerasdl.build("faster_rcnn_box_head", classes=5, strides=(4, 8), channels=16)
    before = network.get_layer("classes").kernel.numpy()
    report = kerasdl.import_weights(network, path)
    assert not report.head
    np.testing.assert_array_equal(network.get_layer("classes").kernel, before)
    kernel = arrays["roi_heads.box_head.fc6.weight"].reshape(1024, 16, 7, 7)
    np.testing.assert_array_equal(
        network.get_layer("hidden1").kernel.numpy().reshape(7, 7, 16, 1024)[2, 5, 3], kernel[:, 3, 2, 5]
    )


def test_backbones_of_timm_in_files_of_detr():
    of_timm = detector_peers.DETR[1]
    start = "model.backbone.conv_encoder.model"
    assert of_timm.name_of("stem_bn", ()) == f"{start}.bn1"
    assert of_timm.name_of("stage2_block3_2_conv", ()) == f"{start}.layer2.2.conv2"
    assert of_timm.name_of("stage4_block1_shortcut_bn", ()) == f"{start}.layer4.0.downsample.1"


def test_yolo_v8_has_halves_of_joined_convolutions(tmp_path):
    """The names are Ultralytics', the file is made here: its program was never run beside ours."""
    network = kerasdl.build("yolo_v8_n", **kerasdl.spec("yolo_v8_n").tiny)
    names = [layer.name for layer in network.layers]
    arrays = {}
    for layer in network.layers:
        if layer.weights:
            module = detector_peers.YOLO_V8.name_of(layer.name, names)
            for _, name, _ in torch_layers.arrays_for(layer, module, detector_peers.YOLO_V8):
                kernel = layer.kernel.shape if hasattr(layer, "kernel") else ()
                shape = (kernel[-1], kernel[-2], *kernel[:2]) if kernel and name.endswith("weight") else None
                shape = shape or layer.weights[-1].shape
                double = 2 if ".cv1." in name and ("_past_" in layer.name or "_through_" in layer.name) else 1
                arrays[name] = peers.array_of(name, (double * shape[0], *shape[1:]))
    write_safetensors(tmp_path / "model.safetensors", arrays)
    assert sum(each.size for each in arrays.values()) == network.count_params()
    report = kerasdl.import_weights(network, tmp_path / "model.safetensors")
    assert report.numbers == network.count_params()
    joined = arrays["model.2.cv1.conv.weight"]
    for place, kernel in enumerate(network.get_layer(f"stage1_{name}_conv").kernel for name in ("past", "through")):
        np.testing.assert_array_equal(np.asarray(kernel)[0, 0].T, np.split(joined, 2)[place][:, :, 0, 0])

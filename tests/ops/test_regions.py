"""RoIAlign and RoIPool against plain loops from their definitions, and torchvision where it is installed."""

import importlib.util
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core import ArgumentError


def bilinear(image, y, x):
    """Value of (H, W, C) at a place: 0 farther than one place outside, the border within."""
    height, width = image.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[-1])
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = (1 - across) * image[top, left] + across * image[top, right]
    lower = (1 - across) * image[bottom, left] + across * image[bottom, right]
    return (1 - down) * upper + down * lower


def align_by_loops(image, box, size, stride, samples, aligned):
    left, top, right, bottom = (side / stride - (0.5 if aligned else 0.0) for side in box)
    height, width = bottom - top, right - left
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    out = np.zeros((*size, image.shape[-1]))
    for row, column in np.ndindex(*size):
        for i, j in np.ndindex(samples, samples):
            y = top + (row + (i + 0.5) / samples) * height / size[0]
            x = left + (column + (j + 0.5) / samples) * width / size[1]
            out[row, column] += bilinear(image, y, x) / samples**2
    return out


def pool_by_loops(image, box, size, stride):
    left, top, right, bottom = (int(math.copysign(math.floor(abs(side / stride) + 0.5), side)) for side in box)
    height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
    out = np.zeros((*size, image.shape[-1]))
    for row, column in np.ndindex(*size):
        rows = range(top + row * height // size[0], top + -(-(row + 1) * height // size[0]))
        columns = range(left + column * width // size[1], left + -(-(column + 1) * width // size[1]))
        places = [image[y, x] for y in rows for x in columns if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]]
        out[row, column] = np.max(places, axis=0) if places else 0.0
    return out


def drawn(seed, side=12, batch=2, rois=6, stride=4.0):
    """A map, and boxes of it, some of which leave it, have no area, or are far away."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(batch, side, side - 3, 3)).astype("float32")
    corners = rng.uniform(-2 * stride, side * stride, (batch, rois, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 1.2 * side * stride, (batch, rois, 2))], -1)
    boxes[:, 0, 2:] = boxes[:, 0, :2]
    boxes[:, 1] += 1000.0
    boxes[:, 2] = boxes[:, 2].round()
    return features, boxes.astype("float32")


@settings(max_examples=12)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(1, 1), (2, 3), (7, 7)]),
    st.sampled_from([1.0, 4.0]),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
)
def test_align_is_its_loops(seed, size, stride, samples, aligned):
    features, boxes = drawn(seed)
    found = ops.roi_align(features, boxes, size, stride=stride, sampling_ratio=samples, aligned=aligned)
    expected = [
        [align_by_loops(image, box.astype("float64"), size, stride, samples, aligned) for box in own]
        for image, own in zip(features, boxes, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([(1, 1), (2, 3), (7, 7)]), st.sampled_from([0.5, 4.0]))
def test_pool_is_its_loops(seed, size, stride):
    features, boxes = drawn(seed)
    expected = [
        [pool_by_loops(image, box, size, stride) for box in own] for image, own in zip(features, boxes, strict=True)
    ]
    np.testing.assert_array_equal(ops.roi_pool(features, boxes, size, stride=stride), np.array(expected, "float32"))


@pytest.mark.parametrize("strides", [(8,), (4, 8, 16, 32)])
def test_levels_are_equation_1(strides):
    sides = np.concatenate([np.geomspace(1, 3000, 200), 224 * 2.0 ** np.arange(-3, 4), [0.0]])
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], -1).astype("float32")
    expected = np.floor(4 + np.log2(np.maximum(boxes[:, 2], 1e-9) / 224) + 1e-6)
    expected = np.clip(expected, math.log2(strides[0]), math.log2(strides[-1])) - math.log2(strides[0])
    np.testing.assert_array_equal(ops.roi_levels(boxes, strides), expected)


def test_each_box_is_read_on_its_own_level():
    rng = np.random.default_rng(0)
    strides = (4, 8, 16)
    features = [rng.normal(size=(2, 512 // stride, 384 // stride, 3)).astype("float32") for stride in strides]
    corners, sides = rng.uniform(-8, 200, (2, 9, 2)), rng.uniform(20, 400, (2, 9, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    levels = np.asarray(ops.roi_levels(boxes, strides))
    assert set(levels.ravel()) == {0, 1, 2}
    found = np.asarray(ops.pyramid_roi_align(features, boxes, (3, 2), strides=strides))
    for image, roi in np.ndindex(*levels.shape):
        level = levels[image, roi]
        expected = align_by_loops(features[level][image], boxes[image, roi], (3, 2), strides[level], 2, False)
        np.testing.assert_allclose(found[image, roi], expected, atol=1e-4)


def gradients(pool, features):
    with tf.GradientTape() as tape:
        variable = tf.Variable(features)
        loss = tf.reduce_sum(pool(variable) * 3.0)
    return np.asarray(tf.convert_to_tensor(tape.gradient(loss, variable)))


def test_gradients_go_to_the_places_that_were_read():
    features, boxes = drawn(3)
    aligned = gradients(lambda x: ops.roi_align(x, boxes, (2, 2), stride=4.0), features)
    assert np.isfinite(aligned).all()
    inside = np.array([[[8.0, 8.0, 24.0, 24.0]]] * 2, "float32")
    whole = gradients(lambda x: ops.roi_align(x, inside, (2, 2), stride=4.0), features)
    np.testing.assert_allclose(whole.sum((1, 2)), 3.0 * 4, rtol=1e-5)  # the weights of each bin sum to 1
    pooled = gradients(lambda x: ops.roi_pool(x, inside, (2, 2), stride=4.0), features)
    expected = np.zeros_like(features)
    for image, row, column, channel in np.ndindex(2, 2, 2, 3):
        top, left = 2 + row * 5 // 2, 2 + column * 5 // 2  # five places, in bins of three that share one
        window = features[image, top : top + 3, left : left + 3, channel]
        y, x = np.unravel_index(window.argmax(), (3, 3))
        expected[image, top + y, left + x, channel] += 3.0
    np.testing.assert_array_equal(pooled, expected)


def test_hostile_boxes_read_nothing_beyond_the_map():
    features = np.ones((1, 5, 5, 1), "float32")
    boxes = np.array([[[1e9, 1e9, 2e9, 2e9], [-1e9, -1e9, 1e9, 1e9], [3, 3, 1, 1], [0, 0, 0, 0]]], "float32")
    pooled = np.asarray(ops.roi_pool(features, boxes, (2, 2)))[0, :, :, :, 0]
    np.testing.assert_array_equal(pooled, [np.zeros((2, 2)), np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2))])
    assert np.isfinite(np.asarray(ops.roi_align(features, boxes, (2, 2)))).all()
    no_number = np.asarray(ops.roi_align(features, np.full((1, 1, 4), np.nan, "float32"), (2, 2)))
    assert not (no_number > 0).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, b: ops.roi_align(x, b[0], (2, 2)),
        lambda x, b: ops.roi_align(x, b, (0, 2)),
        lambda x, b: ops.roi_align(x, b, (2, 2), stride=0),
        lambda x, b: ops.roi_align(x, b, (2, 2), sampling_ratio=0),
        lambda x, b: ops.roi_pool(x, b[..., :3], (2, 2)),
        lambda x, b: ops.roi_pool(x, b, (2, 2), stride=-1),
        lambda x, b: ops.pyramid_roi_align([x], b, (2, 2), strides=(4, 8)),
        lambda x, b: ops.pyramid_roi_align([x, x], b, (2, 2), strides=(4, 12)),
        lambda x, b: ops.roi_levels(b, (4, 8), side=0),
        lambda x, b: tf.function(lambda y: ops.roi_pool(y, b, (2, 2))).get_concrete_function(
            tf.TensorSpec((1, None, 8, 3))
        ),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call(np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 2, 4), "float32"))


PEER = """
import sys
import numpy as np
import torch
from torchvision.ops import roi_align, roi_pool
given = np.load(sys.argv[1])
images, boxes = torch.tensor(given["features"]), [torch.tensor(each) for each in given["boxes"]]
align = {f"aligned_{flag}": roi_align(images, boxes, (7, 5), 0.25, 2, flag).numpy() for flag in (False, True)}
np.savez(sys.argv[2], pool=roi_pool(images, boxes, (7, 5), 0.25).numpy(), **align)
"""


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_align_and_pool_are_torchvisions(tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    features, boxes = drawn(7, side=20, rois=30)
    np.savez(tmp_path / "in.npz", features=features.transpose(0, 3, 1, 2), boxes=boxes)
    subprocess.run([sys.executable, "-c", PEER, tmp_path / "in.npz", tmp_path / "out.npz"], check=True)
    peer = {
        name: each.transpose(0, 2, 3, 1).reshape(2, 30, 7, 5, 3) for name, each in np.load(tmp_path / "out.npz").items()
    }
    for aligned in (False, True):
        found = ops.roi_align(features, boxes, (7, 5), stride=4.0, aligned=aligned)
        np.testing.assert_allclose(found, peer[f"aligned_{aligned}"], atol=1e-5)
    np.testing.assert_array_equal(ops.roi_pool(features, boxes, (7, 5), stride=4.0), peer["pool"])

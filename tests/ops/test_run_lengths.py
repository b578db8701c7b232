"""Run lengths and polygons against pycocotools on drawn masks, against loops, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import RunLengths, encode_mask, encode_polygons, mask_overlaps, read_run_lengths

SEEDS = st.integers(0, 1_000_000)


def drawn(seed, count=1, most=40):
    """Masks of one size: blocks, noise of a density, empty and full ones."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, most, 2)
    masks = []
    for _ in range(count):
        mask = rng.random((height, width)) < rng.choice([0.0, 0.03, 0.5, 0.97, 1.0])
        if rng.random() < 0.5:
            top, left = rng.integers(0, height), rng.integers(0, width)
            mask = np.zeros((height, width), bool)
            mask[top : top + rng.integers(1, most), left : left + rng.integers(1, most)] = True
        masks.append(mask)
    return masks


def of_oracle(mask):
    return oracle.encode(np.asfortranarray(mask.astype("uint8")))


@settings(max_examples=120)
@given(SEEDS)
def test_coding_is_that_of_pycocotools_both_ways(seed):
    (mask,) = drawn(seed)
    own, theirs = encode_mask(mask), of_oracle(mask)
    assert own.packed().encode() == theirs["counts"]
    assert own.area == oracle.area(theirs) == mask.sum()
    left, top, width, height = oracle.toBbox(theirs)
    assert own.box.tolist() == [left, top, left + width, top + height]
    for entry in (own.to_json(), own.to_json(packed=False), {**own.to_json(), "counts": theirs["counts"]}):
        again = read_run_lengths(entry)
        np.testing.assert_array_equal(again.counts, own.counts)
        np.testing.assert_array_equal(again.mask(), mask)


@settings(max_examples=100)
@given(SEEDS)
def test_overlaps_are_those_of_pycocotools_with_crowds(seed):
    rng, masks = np.random.default_rng(seed), drawn(seed, 7)
    crowd = rng.random(4) < 0.4
    own = mask_overlaps([encode_mask(each) for each in masks[:3]], [encode_mask(each) for each in masks[3:]], crowd)
    theirs = oracle.iou(
        [of_oracle(each) for each in masks[:3]], [of_oracle(each) for each in masks[3:]], crowd.tolist()
    )
    np.testing.assert_allclose(own, np.nan_to_num(theirs), atol=1e-12)


@settings(max_examples=30)
@given(SEEDS)
def test_overlaps_are_symmetric_follow_permutations_and_are_one_with_themselves(seed):
    masks = [encode_mask(each) for each in drawn(seed, 4)]
    overlaps, order = mask_overlaps(masks, masks), np.random.default_rng(seed).permutation(4)
    np.testing.assert_array_equal(overlaps, overlaps.T)
    np.testing.assert_array_equal(mask_overlaps([masks[k] for k in order], masks), overlaps[order])
    assert np.diag(overlaps).tolist() == [float(each.area > 0) for each in masks]


@settings(max_examples=120)
@given(SEEDS)
def test_polygons_are_those_of_pycocotools_to_the_pixel(seed):
    rng = np.random.default_rng(seed)
    height, width = map(int, rng.integers(1, 60, 2))
    rings = []
    for _ in range(rng.integers(1, 4)):
        points = rng.uniform(-10, 70, (rng.integers(3, 9), 2))
        points = points.round() if rng.random() < 0.4 else points.round(1) if rng.random() < 0.4 else points
        rings.append(np.concatenate([points, points[-1:]]) if rng.random() < 0.2 else points)
    flat = [ring.ravel().tolist() for ring in rings]
    theirs = oracle.decode(oracle.merge(oracle.frPyObjects(flat, height, width))).astype(bool)
    np.testing.assert_array_equal(encode_polygons(flat, height, width).mask(), theirs)
    np.testing.assert_array_equal(encode_polygons(rings[::-1], height, width).mask(), theirs)


def test_masks_by_hand():
    assert encode_mask(np.zeros((2, 3))).counts.tolist() == [6]
    assert encode_mask(np.ones((2, 3))).counts.tolist() == [0, 6]
    assert encode_mask(np.zeros((0, 3))).mask().shape == (0, 3)
    assert RunLengths(2, 2, [1, 0, 0, 3]).mask().tolist() == [[False, True], [True, True]]
    assert RunLengths(2, 2, [4]).box.tolist() == [0, 0, 0, 0]
    assert mask_overlaps([], [encode_mask([[1]])]).shape == (0, 1)
    assert encode_polygons([[0, 0, 3, 0, 3, 2, 0, 2]], 2, 3).mask().all()
    two = encode_polygons([[0, 0, 1, 0, 1, 1, 0, 1], [2, 1, 3, 1, 3, 2, 2, 2]], 2, 3)
    assert two.mask().astype(int).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_big_count_survives_packing():
    lengths = RunLengths(100_000, 30_000, [1_500_000_000, 3, 1_499_999_997])
    assert read_run_lengths(lengths.to_json()).counts.tolist() == lengths.counts.tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RunLengths(2, 3, [1, 2]), "sum of the mask's pixels"),
        (lambda: RunLengths(2, 2, [-1, 5]), "0 or more"),
        (lambda: RunLengths(2, 2, [1.5, 2.5]), "whole numbers"),
        (lambda: RunLengths(-2, 2, [4]), "height"),
        (lambda: encode_mask(np.zeros((2, 2, 1))), r"\(H, W\)"),
        (lambda: read_run_lengths([1, 2]), "must be a dict"),
        (lambda: read_run_lengths({"size": [2, 2]}), "must be a dict"),
        (lambda: read_run_lengths({"size": [2, 2], "counts": "1a"}), "whole"),
        (lambda: read_run_lengths({"size": [2, 2], "counts": " 3"}), "whole"),
        (lambda: read_run_lengths({"size": [2, 2], "counts": "o" * 30}), "whole"),
        (lambda: mask_overlaps([encode_mask([[1]])], [encode_mask([[1, 0]])]), "one size"),
        (lambda: mask_overlaps([], [encode_mask([[1]])], [True, False]), "one entry for each"),
        (lambda: encode_polygons([], 4, 4), "at least one polygon"),
        (lambda: encode_polygons([[0, 0, 1, 1]], 4, 4), "three points"),
        (lambda: encode_polygons([[0, 0, 1, 1, 2]], 4, 4), "three points"),
        (lambda: encode_polygons([[0, 0, 1, np.nan, 2, 2]], 4, 4), "finite"),
        (lambda: encode_polygons([[0, 0, 1, 1e9, 2, 2]], 4, 4), "within a million"),
        (lambda: encode_polygons([[0, 0, 1, 1, 2, 2]], 0, 4), "height"),
    ],
)
def test_wrong_input_is_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()

"""Windows and pyramids: every pixel is covered, sizes fall by the ratio, a constant image stays constant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasdl import ops
from kerasdl.core import ArgumentError

SIDES = st.tuples(st.integers(5, 40), st.integers(5, 40))
SMALL = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(SIDES, SMALL, SMALL)
def test_windows_of_one_size_cover_the_image_at_their_step(image_size, window, step):
    boxes = ops.sliding_windows(image_size, window, step).astype(int)
    assert (boxes[:, 2] - boxes[:, 0] == window[1]).all()
    assert (boxes[:, 3] - boxes[:, 1] == window[0]).all()
    assert len({*map(tuple, boxes)}) == len(boxes)
    covered = np.zeros(image_size, bool)
    for left, top, right, bottom in boxes:
        assert top % step[0] == 0 or bottom == image_size[0]
        assert left % step[1] == 0 or right == image_size[1]
        covered[top:bottom, left:right] = True
    reached = [np.arange(side) % stride < part for side, stride, part in zip(image_size, step, window, strict=True)]
    assert covered[np.ix_(*reached)].all()  # all pixels, where a step is no larger than its window
    assert covered[-1, -1]


@given(SIDES, SMALL, st.floats(0.1, 0.99))
def test_sizes_fall_by_the_ratio_down_to_the_least(image_size, least, ratio):
    sizes = ops.pyramid_sizes(image_size, least, ratio=ratio)
    assert sizes[0] == image_size
    levels = [tuple(round(side * ratio**level) for side in image_size) for level in range(600)]
    assert min(levels[-1]) == 0
    fitting = [size for size in levels if size[0] >= least[0] and size[1] >= least[1]]
    assert sizes == list(dict.fromkeys(fitting))


def test_a_level_shows_what_the_image_does():
    """A constant stays, and a white square is where the ratio of the sides puts it."""
    images = np.full((1, 32, 24, 2), 7.0, "float32")
    images[:, 8:24, 4:12, 1] = 9.0
    levels = [np.asarray(level) for level in ops.image_pyramid(images, (8, 6), ratio=0.5)]
    assert [level.shape for level in levels] == [(1, 32, 24, 2), (1, 16, 12, 2), (1, 8, 6, 2)]
    np.testing.assert_array_equal(levels[0], images)
    np.testing.assert_allclose(levels[2][..., 0], 7.0, rtol=1e-6)
    assert (levels[1][0, 5:11, 3:5, 1] == 9.0).all()
    assert levels[1][0, 1, 1, 1] == 7.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.sliding_windows((8, 8), (9, 4), (1, 1)),
        lambda: ops.sliding_windows((8, 8), (4, 4), (0, 1)),
        lambda: ops.sliding_windows((8, 8, 3), (4, 4), (1, 1)),
        lambda: ops.pyramid_sizes((8, 8), (9, 9)),
        lambda: ops.pyramid_sizes((8, 8), (4, 4), ratio=1.0),
        lambda: ops.image_pyramid(np.zeros((8, 8, 3)), (4, 4)),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call()

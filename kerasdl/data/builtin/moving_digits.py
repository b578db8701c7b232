"""Moving digits: clips of a real handwritten digit that moves over the frame; the class is its motion, not the digit.

After Moving MNIST (https://arxiv.org/abs/1502.04681, section 3.1), on the digits of scikit-learn. A digit that leaves
the frame comes back at the other side, and starts anywhere, so that a single frame tells nothing of the motion.
"""

import numpy as np

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS
from . import digits

FRAMES, SIDE = 8, 32
MOTIONS = {
    "right": lambda t: (0 * t, 3 * t),
    "left": lambda t: (0 * t, -3 * t),
    "down": lambda t: (3 * t, 0 * t),
    "up": lambda t: (-3 * t, 0 * t),
    "circle": lambda t: (6 * np.sin(np.pi * t / 4), 6 * np.cos(np.pi * t / 4)),
    "rest": lambda t: (0 * t, 0 * t),
}
"""Rows and columns by which a digit has moved at each frame."""
SIZE = 2000


def draw_moving_digits(split: str, size: int | None, seed: int) -> Dataset:
    """Returns clips (8, 32, 32, 1) of levels from -1 to 1 with their motion; the digits of a split are in no other."""
    size = SIZE if size is None else size
    pictures = digits.read_digits(split).source.inputs  # uint8 (N, 8, 8, 1)
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    labels = (np.arange(size) % len(MOTIONS)).astype(np.int32)
    chosen = np.kron(pictures[rng.integers(len(pictures), size=size), ..., 0], np.ones((1, 2, 2), np.uint8))
    starts, times = rng.integers(0, SIDE, (size, 2)), np.arange(FRAMES)
    clips = np.zeros((size, FRAMES, SIDE, SIDE, 1), np.float32)
    clips[:, :, :16, :16, 0] = chosen[:, np.newaxis]
    moves = [np.rint(np.stack(move(times), axis=1)).astype(int) for move in MOTIONS.values()]
    for clip, label, start in zip(clips, labels, starts, strict=True):
        for frame, move in zip(clip, moves[label], strict=True):
            frame[:] = np.roll(frame, tuple(start + move), axis=(0, 1))
    return Dataset(
        name="moving_digits",
        task="video_classification",
        class_names=tuple(MOTIONS),
        input_shape=clips.shape[1:],
        input_dtype="float32",
        size=size,
        licence=digits.LICENCE,
        seekable=True,
        scale=None,
        source=Examples(clips / 127.5 - 1, labels),
    )

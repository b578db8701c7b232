"""Cost of a detector's suppression: `python benchmarks/detection.py`, one minute.

Beside tf.image.combined_non_max_suppression on 8,400 boxes of 80 classes, 1,000 pairs above the least score, in turns.
"""

import statistics
import time
from collections.abc import Callable

from kerasdl import ops  # first, so that TensorFlow starts in silence

# isort: split
import numpy as np
import tensorflow as tf

BOXES, CLASSES, SIDE, ABOVE = 8400, 80, 640, 1000
ROUNDS = 20


def main() -> None:
    """Prints both times."""
    rng = np.random.default_rng(0)
    centres, sides = rng.uniform(0, SIDE, (1, BOXES, 2)), rng.uniform(10, 200, (1, BOXES, 2))
    boxes = tf.constant(np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1), tf.float32)
    scores = rng.uniform(0.06, 1, (1, BOXES, CLASSES)).astype("float32")
    scores = tf.constant(np.where(scores >= np.sort(scores.ravel())[-ABOVE], scores, 0.01))
    own = tf.function(lambda: ops.nms(boxes, scores, overlap=0.5, min_score=0.05, max_boxes=100, candidates=ABOVE))
    peer = tf.function(
        lambda: tf.image.combined_non_max_suppression(
            boxes[:, :, None], scores, ABOVE, 100, 0.5, 0.05, clip_boxes=False
        )
    )
    np.testing.assert_array_equal(own().scores, peer().nmsed_scores)
    ours, theirs = in_turns(own, peer, ROUNDS)
    print(f"suppression: {1e3 * ours:.1f} ms, TensorFlow's {1e3 * theirs:.1f} ms: {theirs / ours:.2f} of its speed")


def in_turns(first: Callable, second: Callable, rounds: int) -> tuple[float, float]:
    """Returns the median seconds of two calls."""
    seconds = {first: [], second: []}
    for _ in range(rounds):
        for call, taken in seconds.items():
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return statistics.median(seconds[first]), statistics.median(seconds[second])


if __name__ == "__main__":
    main()

"""RandAugment of kerasdl in tf.data compared with Keras's layer: `python benchmarks/augment.py`, three minutes.

Photographs of 224 pixels, batches of 32, two operations at the same strength; ratios of seconds measured in turns,
above 1 ours is faster. Ours maps single images in parallel; the layer is mapped over batches, as its pages show, and
over single images.
"""

import statistics
import time

import kerasdl  # noqa: F401 -- first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np
import tensorflow as tf

from kerasdl.data import augment

COUNT, BATCH, SIDE, ROUNDS = 256, 32, 224, 5


def pipelines() -> dict[str, tf.data.Dataset]:
    """Returns the pipelines over the same images, by name."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT, 14, 14, 3)).astype("float32")
    images = tf.data.Dataset.from_tensor_slices(tf.image.resize(coarse, (SIDE, SIDE), "bicubic").numpy().clip(0, 255))
    seeds = tf.data.Dataset.from_tensor_slices(rng.integers(0, 2**31, (COUNT, 2), np.int32))
    mine = augment.RandAugment(2, 9, scale=(0.0, 255.0))
    layer = keras.layers.RandAugment((0, 255), num_ops=2, factor=0.3)
    parallel = dict(num_parallel_calls=tf.data.AUTOTUNE)
    return {
        "ours": tf.data.Dataset.zip(images, seeds).map(mine, **parallel).batch(BATCH),
        "layer, batches": images.batch(BATCH).map(lambda batch: layer(batch, training=True), **parallel),
        "layer, images": images.map(lambda image: layer(image, training=True), **parallel).batch(BATCH),
    }


def main() -> None:
    """Prints the ratios."""
    found = {name: pipeline.prefetch(tf.data.AUTOTUNE) for name, pipeline in pipelines().items()}
    seconds = {name: [] for name in found}
    for number in range(ROUNDS + 1):
        for name, pipeline in found.items():
            started = time.perf_counter()
            for _ in pipeline:
                pass
            if number:  # the first round traces
                seconds[name].append(time.perf_counter() - started)
    print(f"ours: {COUNT / statistics.median(seconds['ours']):,.0f} images/s")
    for name in list(found)[1:]:
        ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds["ours"], strict=True)]
        print(f"{name} / ours: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()

"""Batch norm by hand, with its running statistics, beside Keras: `python docs/recipes/batch_norm_by_hand.py`.

Five seconds. The numbers of both are equal; in evaluation the running mean and variance count, which lag behind.
"""

import keras
import numpy as np

from kerasdl.foundations import BatchNorm


def differences(steps: int = 20, seed: int = 0) -> dict[str, float]:
    """Runs both over the same batches; returns the greatest difference of outputs, statistics, and of an evaluation."""
    rng = np.random.default_rng(seed)
    own, peer = BatchNorm(4), keras.layers.BatchNormalization()
    found = {"training": 0.0, "evaluation": 0.0, "statistics": 0.0}
    for _ in range(steps):
        batch = rng.normal(3.0, 2.0, (32, 4)).astype("float32")
        pair = own.forward(batch, training=True), peer(batch, training=True).numpy()
        found["training"] = max(found["training"], float(np.abs(pair[0] - pair[1]).max()))
    pair = own.forward(batch), peer(batch, training=False).numpy()
    found["evaluation"] = float(np.abs(pair[0] - pair[1]).max())
    for mine, theirs in ((own.mean, peer.moving_mean), (own.variance, peer.moving_variance)):
        found["statistics"] = max(found["statistics"], float(np.abs(mine - theirs.numpy()).max()))
    found["mean that evaluation subtracts"] = float(own.mean.mean())  # of 3, after so few batches
    return found


def main() -> dict[str, float]:
    """Prints the differences, and returns them."""
    found = differences()
    for name, value in found.items():
        print(f"{name:32}{value:.2g}")
    return found


if __name__ == "__main__":
    main()

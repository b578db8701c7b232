"""Random seed for Python, NumPy, TensorFlow and Keras, with deterministic operations."""

from . import checks


def set_seed(seed: int) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras, and makes TensorFlow's operations deterministic.

    Two runs of the same program on the same machine then give bit-equal weights.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ArgumentError: the seed is no such integer.

    Example:
        >>> kerasdl.set_seed(0)
    """
    checks.at_least("seed", seed, 0)
    checks.within("seed", seed, 0, 2**32 - 1)
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()

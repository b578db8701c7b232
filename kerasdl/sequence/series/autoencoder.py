"""Autoencoder of windows: convolutions to a narrow code and back, whose error shows anomalies.

After Malhotra et al. 2016, https://arxiv.org/abs/1607.00148, which reconstructs windows by LSTMs.

Deviations: convolutions in place of LSTMs; the score is the squared error itself, not its likelihood.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .heads import check_sizes


@register(
    task="network",
    paper="https://arxiv.org/abs/1607.00148",
    variants={"series_autoencoder": {}},
    params={"series_autoencoder": 7_153},
    reference="kernel * in * out + out of each convolution, summed in tests/sequence/series/test_anomalies.py",
    qat="full",
    tags=("cnn",),
    tiny=dict(length=16, channels=2, filters=(8, 4)),
)
def series_autoencoder(length: int = 32, *, channels: int = 1, filters=(32, 16, 8), kernel: int = 5) -> keras.Model:
    """Autoencoder of windows: each level halves the steps, the code is narrower than the window, and back.

    Source: https://arxiv.org/abs/1607.00148, section 2.

    Args:
        length: steps of a window, a multiple of 2 for each level.
        channels: numbers of each step.
        filters: of each level; the last is the width of the code.
        kernel: steps of a kernel.

    Returns:
        A model from scaled windows (B, length, channels) to the same windows, float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("series_autoencoder", length=64, channels=3).output_shape
        (None, 64, 3)
    """
    check_sizes(length, 1, channels, channels)
    filters = checks.counts("filters", filters)
    checks.at_least("kernel", kernel, 1)
    if length % 2 ** len(filters):
        checks.refuse(f"length must be a multiple of {2 ** len(filters)}, 2 for each level", length)
    window = keras.Input((length, channels), name="window")
    x = window
    for level, width in enumerate(filters, start=1):
        x = layers.Conv1D(width, kernel, padding="same", activation="relu", name=f"encoder{level}")(x)
        x = layers.MaxPooling1D(2, name=f"encoder{level}_pool")(x)
    for level, width in reversed(list(enumerate(filters, start=1))):
        x = layers.UpSampling1D(2, name=f"decoder{level}_up")(x)
        x = layers.Conv1D(width, kernel, padding="same", activation="relu", name=f"decoder{level}")(x)
    outputs = layers.Conv1D(channels, kernel, padding="same", dtype="float32", name="reconstruction")(x)
    return keras.Model(window, outputs, name="series_autoencoder")

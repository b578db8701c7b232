"""What a regularizer of a weight adds to the loss of a trainer, beside what it is to add."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest


def check_regularizers_count(trainer: Any, loss: Callable[[], Any]) -> None:
    """Fails unless a regularizer of the first kernel of the main network counts in full.

    Args:
        trainer: the trainer; its weights stay as they are.
        loss: computes its loss on data that stay the same.
    """
    kernel = next(each for each in trainer.main.trainable_weights if each.name.endswith("kernel"))
    plain = float(loss())
    kernel.regularizer = keras.regularizers.L2(1.0)
    try:
        whole = float(loss())
    finally:
        kernel.regularizer = None
    assert whole - plain == pytest.approx(np.square(kernel.numpy()).sum(), rel=1e-2)

"""Multi-worker strategy, created right after TensorFlow is imported: after the first computation it is too late."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from ..errors import TrainingError
from .import_hooks import around_import

VARIABLE = "KERASDL_STRATEGY"
MULTI_WORKER = "multi_worker"


def join_at_start() -> None:
    """Joins the workers of TF_CONFIG right after TensorFlow is imported, if `kerasdl launch` requested it."""
    if os.environ.get(VARIABLE) != MULTI_WORKER:
        return
    if "tensorflow" in sys.modules:
        _import_and_join(lambda: None)
    else:
        around_import("tensorflow", _import_and_join)


def _import_and_join(run: Callable[[], None]) -> None:
    run()
    os.environ.pop(VARIABLE, None)  # child processes are not workers
    joined()


def has_joined() -> bool:
    """Returns whether this process is one of several workers."""
    return bool(joined.cache_info().currsize)


@functools.cache
def joined() -> Any:
    """Returns the MultiWorkerMirroredStrategy over the workers that TF_CONFIG names; waits for all of them.

    Raises:
        TrainingError: TensorFlow has computed something already.
    """
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise TrainingError(
            "workers must join before TensorFlow computes anything. Start the program with `kerasdl launch` and import "
            "kerasdl at its top, or call kerasdl.train.strategy('multi_worker') before all else."
        ) from None

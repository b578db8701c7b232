"""Import of TFMOT (TensorFlow Model Optimization) that leaves the caller's TensorFlow as it was.

Importing it sets TF_USE_LEGACY_KERAS, which turns `tf.keras` into Keras 2 for this process and its children.
"""

import os

import tensorflow as tf

from .export.tracing import silenced

NAME = "TF_USE_LEGACY_KERAS"
_before = os.environ.get(NAME)
tf.keras.Model  # noqa: B018  settles which Keras `tf.keras` is, before the variable changes

with silenced():
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import ClusterWeights
    from tensorflow_model_optimization.python.core.quantization.keras.quant_ops import MovingAvgQuantize
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

if _before is None:
    os.environ.pop(NAME, None)
else:
    os.environ[NAME] = _before

__all__ = ["ClusterWeights", "MovingAvgQuantize", "PruneLowMagnitude", "tfmot"]

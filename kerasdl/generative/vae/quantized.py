"""Vector-quantized autoencoder: trainer with commitment, codes as whole numbers, and the use of the codebook.

Source: van den Oord 2017, https://arxiv.org/abs/1711.00937; entries as moving averages: its appendix A.1.
"""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.layers import FiniteScalarQuantizer, VectorQuantizer
from kerasdl.metrics import CodePerplexity, CodeUsage

from ..ae.code_parts import CODE
from ..ae.reconstruction import ReconstructionTrainer, mean_of_each, mean_over_replicas
from .quantized_networks import ENCODING


class VQVAE(ReconstructionTrainer):
    """Trainer of an autoencoder with discrete codes, and its codes as whole numbers.

    The loss is the squared error of an image and, where there is a codebook, `commitment` times the squared distance of
    the encoder's vectors from their entries. Beyond the loss it logs `perplexity` and `usage` of the codes of an epoch:
    a codebook that died has a usage near 0, which restarts of `layers.VectorQuantizer` mend.

    Source: https://arxiv.org/abs/1711.00937, equation 3.

    Args:
        network: model of `kerasdl.build("vqvae")` or `"fsq_autoencoder"`, or with layers `encoding` and `code`.
        commitment: weight of that distance, 0 or more; networks of finite scalars need none.

    Raises:
        ArgumentError: the network has other layers, or an argument breaks its range.

    Example:
        >>> trainer = VQVAE(kerasdl.build("vqvae", filters=(4,), codes=8))
        >>> trainer.indices(images[:, :28, :28, :1]).shape, trainer.bits
        ((8, 14, 14), 588.0)
    """

    def __init__(self, network: keras.Model | Mapping[str, keras.Model], *, commitment: float = 0.25):
        super().__init__(network)
        by_name = {layer.name: layer for layer in self.main.layers}
        if not isinstance(by_name[CODE], (VectorQuantizer, FiniteScalarQuantizer)) or ENCODING not in by_name:
            rule = f"a network of discrete codes must have layers {ENCODING!r} and {CODE!r}, which quantizes it"
            checks.refuse(rule, type(by_name[CODE]).__name__, "Build it by kerasdl.build('vqvae').")
        self.commitment = checks.within("commitment", commitment, 0.0, 1e6)
        self.has_codebook = isinstance(by_name[CODE], VectorQuantizer)
        encoding = by_name[ENCODING].output
        outputs = {"output": self.main.output, "code": by_name[CODE].output, "encoding": encoding}
        self.with_code = keras.Model(self.main.input, outputs)
        self.unquantized = keras.Model(self.main.input, encoding)
        self.uses = [CodePerplexity(self.quantizer.codes), CodeUsage(self.quantizer.codes)]

    @property
    def quantizer(self) -> VectorQuantizer | FiniteScalarQuantizer:
        """The layer that quantizes; its `codes` is the size of the codebook."""
        return self.main.get_layer(CODE)

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.uses)}.values())

    @property
    def bits(self) -> float:
        """Bits of the code of an image, each place the logarithm of the size of the codebook, before entropy coding."""
        return math.prod(self.encoder.output.shape[1:-1]) * math.log2(self.quantizer.codes)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self.has_codebook and replicas > 1:
            hint = "Pass strategy=None in RunConfig, or take finite scalars: kerasdl.build('fsq_autoencoder')."
            checks.refuse("a codebook of moving averages must be trained on one device", f"{replicas} replicas", hint)
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not self.has_codebook:
            return loss
        apart = mean_of_each(ops.square(y_pred["encoding"] - ops.stop_gradient(y_pred["code"])))
        return loss + self.commitment * mean_over_replicas(apart, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        indices = self.quantizer.indices(y_pred["encoding"])
        for metric in self.uses:
            metric.update_state(indices)
        return self.get_metrics_result()

    # Answers

    def indices(self, images: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the codes of images as whole numbers (N, h, w) int32 below `quantizer.codes`.

        Raises:
            ArgumentError: images do not fit the network.
        """
        return np.asarray(self.quantizer.indices(self._answers(self.unquantized, images, batch_size)))

    def decode_indices(self, indices: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the images (N, H, W, C) of codes as whole numbers (N, h, w), as `indices` gives them.

        Raises:
            ArgumentError: a number is not one of the codebook, or their shape does not fit.
        """
        indices = np.asarray(indices)
        whole = indices.dtype.kind in "iu" and indices.size
        if not whole or indices.min() < 0 or indices.max() >= self.quantizer.codes:
            given = f"{indices.dtype} {indices.shape}" if not whole else (int(indices.min()), int(indices.max()))
            checks.refuse(f"indices must be whole numbers below {self.quantizer.codes}", given)
        return self.decode(np.asarray(self.quantizer.entries(indices)), batch_size=batch_size)

"""Sparse and contractive autoencoders: trainers that add a penalty of the code to the error.

Sources: Ng 2011, https://web.stanford.edu/class/cs294a/sparseAutoencoder_2011new.pdf, for few active units; Rifai 2011,
https://icml.cc/2011/papers/455_icmlpaper.pdf, for codes that small changes of the image do not move.

Deviations: the activation of a unit is the sigmoid of its code, since codes of the networks here are linear; the
contractive penalty is Hutchinson's estimate by random signs, in forward mode, in place of the whole Jacobian.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import jacobian_norms, share_divergence
from kerasdl.train.trainer import step_seed

from .reconstruction import ReconstructionTrainer, mean_over_replicas


class SparseTrainer(ReconstructionTrainer):
    """Trainer of a sparse autoencoder: the error and a penalty that keeps most units of the code at rest.

    `l1` adds the sum of the absolute values of a code. `kl` adds the sum over units of KL(target || share), share the
    mean over the batch of the sigmoids of a unit, so that each unit is active for few images; batches must be large
    enough for such a mean.

    Source: https://web.stanford.edu/class/cs294a/sparseAutoencoder_2011new.pdf, section 3.

    Args:
        network: as of `ReconstructionTrainer`, with a code (B, D) or (B, ..., D).
        penalty: `l1` or `kl`.
        weight: of the penalty beside the error, 0 or more.
        target: share of images for which a unit is to be active, above 0 and below 1; for `kl`.

    Raises:
        ArgumentError: the network has another form, or an argument breaks its range.

    Example:
        >>> network = kerasdl.build("conv_autoencoder", filters=(4,), code=64)
        >>> SparseTrainer(network, penalty="kl", target=0.05).penalty_of(tf.zeros((8, 64))).numpy() > 0
        np.True_
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        penalty: str = "l1",
        weight: float = 1e-3,
        target: float = 0.05,
    ):
        super().__init__(network)
        self.penalty = checks.one_of("penalty", penalty, ("l1", "kl"))
        self.weight = checks.within("weight", weight, 0.0, 1e6)
        self.target = checks.within("target", target, 1e-6, 1 - 1e-6)

    def penalty_of(self, code: Any) -> Any:
        """Returns the penalty of codes: (B,) for `l1`, a scalar for `kl`."""
        code = ops.cast(code, "float32")
        if self.penalty == "l1":
            return ops.sum(ops.abs(code), axis=tuple(range(1, len(code.shape))))
        shares = ops.mean(ops.sigmoid(code), axis=tuple(range(len(code.shape) - 1)))
        return ops.sum(share_divergence(shares, self.target))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        penalty = self.penalty_of(y_pred["code"])
        per_image = ops.broadcast_to(penalty, (ops.shape(y_pred["code"])[0],)) if self.penalty == "kl" else penalty
        return loss + self.weight * mean_over_replicas(per_image, sample_weight)


class ContractiveTrainer(ReconstructionTrainer):
    """Trainer of a contractive autoencoder: the error and the squared norm of the Jacobian of the code.

    Source: https://icml.cc/2011/papers/455_icmlpaper.pdf, equation 5.

    Args:
        network: as of `ReconstructionTrainer`.
        weight: of the norm beside the error, 0 or more.
        directions: random directions of the estimate in a step; each costs a pass through the encoder.
        seed: seed of the directions.

    Raises:
        ArgumentError: the network has another form, or an argument breaks its range.

    Example:
        >>> network = kerasdl.build("conv_autoencoder", filters=(4,), code=2)
        >>> ContractiveTrainer(network).norms(images[:, :28, :28, :1], seed=(0, 1)).shape
        TensorShape([8])
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        weight: float = 1e-4,
        directions: int = 1,
        seed: int = 0,
    ):
        super().__init__(network)
        self.weight = checks.within("weight", weight, 0.0, 1e6)
        self.directions = checks.at_least("directions", directions, 1)
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))

    def norms(self, images: Any, seed: Any, training: bool = False) -> tf.Tensor:
        """Returns the estimate (B,) of the squared Frobenius norm of d code / d image of each image.

        Args:
            images: (B, H, W, C).
            seed: int32 (2,), of the directions.
            training: whether the encoder runs in training mode.
        """
        images = tf.convert_to_tensor(images)
        drawn = tf.random.stateless_uniform(tf.concat([[self.directions], tf.shape(images)], 0), seed)
        signs = tf.cast(tf.where(drawn < 0.5, -1.0, 1.0), images.dtype)
        signs = tf.ensure_shape(signs, [self.directions, *images.shape])
        found = jacobian_norms(lambda each: self.encoder(each, training=training), images, signs)
        return tf.cast(found, tf.float32) / self.directions

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        seed = step_seed(self.seeds, training)
        return loss + self.weight * mean_over_replicas(self.norms(x, seed, training), sample_weight)

"""Conditional GANs: concatenation https://arxiv.org/abs/1411.1784, projection, auxiliary classifier.

Projection is https://arxiv.org/abs/1802.05637, the auxiliary classifier https://arxiv.org/abs/1610.09585.

Deviations: the labels of made examples are those of the real batch.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits, rows_of
from kerasdl.data.batching.sharding import rows_in

from .trainer import GAN, answers


class ConditionalGAN(GAN):
    """Trainer of a generator that makes examples of an asked class, against a discriminator that knows the class.

    Data are examples with whole labels from 0. The discriminator takes `{"image", "label"}`, by concatenation or
    projection, or takes examples alone and also tells their class, `{"logit", "classes"}` (an auxiliary classifier).

    Figures: those of `GAN`.

    Source: https://arxiv.org/abs/1411.1784, equation 2; https://arxiv.org/abs/1610.09585, equations 2 and 3.

    Args:
        generator: from `{"noise": (B, D), "label": (B,)}` to examples.
        discriminator: from `{"image", "label"}` to logits (B, 1), or from examples to `{"logit", "classes"}`.
        classes: K; labels are from 0 to K - 1.
        auxiliary: weight of the loss of an auxiliary classifier.
        loss: as in `GAN`.
        discriminator_steps: as in `GAN`.
        r1: as in `GAN`.
        r2: as in `GAN`.
        average: as in `GAN`.
        seed: as in `GAN`.

    Raises:
        ArgumentError: the networks do not fit each other, or an argument breaks its range.

    Example:
        >>> nets = ("conditional_generator", "projection_discriminator")
        >>> gan = ConditionalGAN(*(kerasdl.build(name, **kerasdl.spec(name).tiny) for name in nets), classes=4)
        >>> gan.sample([0, 3, 3]).shape
        (3, 16, 16, 1)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        classes: int,
        auxiliary: float = 1.0,
        loss: str = "non_saturating",
        discriminator_steps: int = 1,
        r1: float = 0.0,
        r2: float = 0.0,
        average: float | None = None,
        seed: int = 0,
    ):
        self.classes = checks.at_least("classes", classes, 1)
        self.auxiliary = checks.within("auxiliary", auxiliary, 0.0, 1e6)
        settings = {"discriminator_steps": discriminator_steps, "r1": r1, "r2": r2, "average": average, "seed": seed}
        super().__init__(generator, discriminator, loss=loss, **settings)
        self.supports_jit = False  # XLA would leave out the checks of labels

    @property
    def tells_classes(self) -> bool:
        """True if the discriminator is an auxiliary classifier too."""
        return isinstance(self.networks["discriminator"].output, dict)

    def check_networks(self) -> None:
        generator, judge = self.networks["generator"], self.networks["discriminator"]
        if not isinstance(generator.input, dict) or set(generator.input) != {"noise", "label"}:
            checks.refuse("a conditional generator must take noise and label", [each.name for each in generator.inputs])
        made = keras.KerasTensor(generator.output.shape, generator.output.dtype)
        if not self.tells_classes:
            if not isinstance(judge.input, dict) or set(judge.input) != {"image", "label"}:
                checks.refuse(
                    "a conditional discriminator must take image and label, or give logit and classes", judge.name
                )
            made = {"image": made, "label": keras.KerasTensor((None,), "int32")}
        elif set(judge.output) != {"logit", "classes"} or judge.output["classes"].shape[-1] != self.classes:
            rule = f"an auxiliary classifier must give logit and {self.classes} classes"
            checks.refuse(rule, {name: tuple(each.shape) for name, each in judge.output.items()})
        check_fits(judge, made, name="made examples")
        for network in (generator, judge):
            rows = rows_of(network, network.input["label"]) if isinstance(network.input, dict) else None
            if rows is not None and rows < self.classes:
                rule = f"{network.name} must have a row for each of {self.classes} classes"
                checks.refuse(rule, f"{rows} rows", "Build it with classes=K.")

    def check_data(self, data: Any) -> None:
        """Refuses examples that the discriminator does not take, weights, and labels that are no classes.

        Raises:
            ArgumentError: the data do not fit.
        """
        examples, labels, weights = data.spec
        judge = self.networks["discriminator"]
        check_fits(judge, examples if self.tells_classes else {"image": examples, "label": labels}, name=data.name)
        if weights is not None:
            checks.refuse("data of adversaries must come without weights", data.name, "Repeat examples instead.")
        is_class = labels is not None and len(labels.shape) == 1 and "int" in tf.as_dtype(labels.dtype).name
        if not is_class:
            checks.refuse("labels of a conditional GAN must be whole numbers (B,)", getattr(labels, "shape", None))

    def make(self, batch):
        count, labels = rows_in(batch), self.labels_of(batch)
        return self.networks["generator"]({"noise": self.noise(count), "label": labels}, training=True)

    @property
    def latent(self) -> int:
        return self.networks["generator"].input["noise"].shape[-1]

    def labels_of(self, batch: tuple) -> tf.Tensor:
        """Returns the labels of a batch, int32; a step on a label that is no class fails."""
        labels = tf.cast(batch[1], tf.int32)
        rule = f"labels must be from 0 to {self.classes - 1}"
        checked = [
            tf.debugging.assert_less(labels, self.classes, rule),
            tf.debugging.assert_non_negative(labels, rule),
        ]
        with tf.control_dependencies([each for each in checked if each is not None]):  # None where it ran at once
            return tf.identity(labels)

    def judge(self, examples, batch):
        judge = self.networks["discriminator"]
        if self.tells_classes:
            return judge(examples, training=True)
        return judge({"image": examples, "label": self.labels_of(batch)}, training=True)

    def logits(self, judged):
        return judged["logit"] if self.tells_classes else judged

    def also_lost(self, fakes, judged, batch, role):
        if not self.tells_classes:
            return 0.0
        labels = self.labels_of(batch)
        return self.auxiliary * ops.mean(
            ops.sparse_categorical_crossentropy(labels, judged["classes"], from_logits=True)
        )

    def sample(self, count: Any, *, seed: int = 0, batch_size: int = 64) -> np.ndarray:
        """Returns examples made of fresh noise, of asked classes.

        Args:
            count: the class of each example; or their number, and classes are taken in turn.
            seed: seed of the noise.
            batch_size: examples made at once.

        Returns:
            (N, ...) floats.

        Raises:
            ArgumentError: a class is out of range, or a number is below 1.
        """
        if np.ndim(count) == 0:
            count = np.arange(checks.at_least("count", count, 1)) % self.classes
        labels = np.asarray(count)
        if (
            labels.ndim != 1
            or not len(labels)
            or labels.dtype.kind not in "iu"
            or not ((labels >= 0) & (labels < self.classes)).all()
        ):
            checks.refuse(f"classes to sample must be whole numbers from 0 to {self.classes - 1}", count)
        noise = np.random.default_rng(seed).normal(size=(len(labels), self.latent)).astype("float32")
        return answers(self.sampler, {"noise": noise, "label": labels.astype("int32")}, batch_size)

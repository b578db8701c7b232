"""Multilayer perceptron from scratch: dense layers, backpropagation, mini-batches.

Two layers solve what one cannot: the hidden units of XOR bend the plane so that a line separates the classes. The
gradient goes through the layers from the last to the first (https://doi.org/10.1038/323533a0); each hands on what the
one before needs.
"""

from collections.abc import Sequence

import numpy as np

from . import losses
from .activations import sigmoid, softmax
from .layers import Dense, Layer
from .optimizers import Adam, Optimizer


class MLP:
    """Dense layers in a row.

    Args:
        sizes: inputs, hidden units of each layer, outputs.
        activation: of the hidden layers; the last one is linear.
        loss: name in `losses.LOSSES` of targets and outputs; for classes `ce_from_logits` with targets (N, K).
        kernel: name in `initializers.INITIALIZERS`.
        seed: of the weights and of the order of examples.

    Raises:
        ValueError: there are less than two sizes, a name is unknown, or the loss is of probabilities, which linear
            outputs are not.

    Example:
        >>> inputs, labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
        >>> net = MLP((2, 8, 2)).fit(inputs, np.eye(2)[labels], epochs=200, batch_size=4, optimizer=Adam(0.05))
        >>> net.predict_classes(inputs)
        array([0, 1, 1, 0])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        loss: str = "ce_from_logits",
        kernel: str = "he_normal",
        seed: int = 0,
    ):
        if len(sizes) < 2:
            raise ValueError(f"sizes must be inputs and outputs at least; got {tuple(sizes)}.")
        kinds = [activation] * (len(sizes) - 2) + ["linear"]
        self.layers: list[Layer] = [
            Dense(inputs, units, activation=kind, kernel=kernel, seed=seed + place)
            for place, (inputs, units, kind) in enumerate(zip(sizes, sizes[1:], kinds, strict=False))
        ]
        if loss in ("bce", "ce", "kl"):
            raise ValueError(f"loss must be one of linear outputs, such as ce_from_logits; got {loss!r}.")
        self.kind, self.loss = loss, losses.loss(loss)
        self.seed, self.history = seed, []

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """All weights, named `layer0.kernel` and so on."""
        return {f"layer{n}.{name}": w for n, layer in enumerate(self.layers) for name, w in layer.weights.items()}

    @weights.setter
    def weights(self, values: dict[str, np.ndarray]):
        own = {name: weight.shape for name, weight in self.weights.items()}
        for name, value in values.items():
            if own.get(name) != np.shape(value):
                raise ValueError(f"weights must be of {own}; got {name!r} {np.shape(value)}.")
            layer, _, key = name.partition(".")
            self.layers[int(layer.removeprefix("layer"))].weights[key] = value

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the outputs (N, K) of inputs (N, D)."""
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """Returns the loss of a batch and the gradient of each weight, named as in `weights`.

        Raises:
            ValueError: the targets have not the shape (N, K) of the outputs; NumPy would broadcast them.
        """
        outputs = self.forward(inputs)
        if np.shape(targets) != outputs.shape:
            hint = "Classes are rows of np.eye(K), numbers a column y[:, None]."
            raise ValueError(f"targets must have the shape {outputs.shape}; got {np.shape(targets)}. {hint}")
        gradient = self.loss.gradient(targets, outputs)
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        named = {f"layer{n}.{key}": g for n, layer in enumerate(self.layers) for key, g in layer.gradients.items()}
        return self.loss.value(targets, outputs), named

    def fit(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
    ) -> "MLP":
        """Learns from examples in a random order, new in each epoch; `history` gets the mean loss of each.

        Args:
            inputs: (N, D).
            targets: (N, K).
            epochs: passes over the examples.
            batch_size: examples an update.
            optimizer: None takes `Adam()`.

        Returns:
            Itself.

        Raises:
            ValueError: there are not as many targets as inputs, they have another shape than the outputs, or a number
                is not finite.
        """
        if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
            raise ValueError("inputs and targets must be finite; got NaN or infinity.")
        if len(inputs) != len(targets):
            raise ValueError(f"each input must have a target; got {len(inputs)} and {len(targets)}.")
        optimizer, rng = optimizer or Adam(), np.random.default_rng(self.seed)
        for _ in range(epochs):
            order, total = rng.permutation(len(inputs)), 0.0
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                value, gradients = self.loss_and_gradients(inputs[chosen], targets[chosen])
                weights = self.weights
                optimizer.step(weights, gradients)
                self.weights = weights
                total += value * len(chosen)
            self.history.append(total / len(order))
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns what the outputs (N, K) mean by the loss: shares of the classes, the probability of each, or values.

        Raises:
            ValueError: an output is not finite.
        """
        outputs = self.forward(inputs)
        if not np.isfinite(outputs).all():
            raise ValueError("outputs must be finite; got NaN or infinity. Look at the inputs, or lower the rate.")
        return {"ce_from_logits": softmax, "bce_from_logits": sigmoid}.get(self.kind, np.asarray)(outputs)

    def predict_classes(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the likeliest class (N,) of each input; of one output 0 or 1.

        Raises:
            ValueError: an output is not finite, or the one output is no probability of a class.
        """
        outputs = self.predict(inputs)
        if outputs.shape[-1] > 1:
            return outputs.argmax(axis=-1)
        if self.kind != "bce_from_logits":
            raise ValueError(f"classes of one output need the loss bce_from_logits; got {self.kind}. Take predict.")
        return (outputs[..., 0] > 0.5).astype(int)

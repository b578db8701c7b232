"""Perceptron: the learning rule of Rosenblatt (https://doi.org/10.1037/h0042519) and its bound on mistakes.

A neuron says +1 where w.x + b > 0 and -1 elsewhere. The rule looks at one example after the other and, where the answer
is wrong, moves the boundary towards it: w <- w + y x, b <- b + y.

Why it ends (Novikoff 1962): let u be a unit vector that separates the data by a margin m, y (u.x) >= m, and R the
length of the longest example. Each mistake raises u.w by at least m, and |w|^2 by at most R^2. After k mistakes
k m <= u.w <= |w| <= sqrt(k) R, so that k <= (R / m)^2. Without such a u, as for XOR, it never ends.

Deviations: the bias is one more weight whose input is 1, as the bound needs it; all weights start at 0.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Perceptron:
    """Neuron that learns to separate two classes by a line.

    Source: https://doi.org/10.1037/h0042519.

    Example:
        >>> inputs, labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([-1, -1, -1, 1])
        >>> Perceptron().fit(inputs, labels).predict(inputs)
        array([-1, -1, -1,  1])
    """

    weights: np.ndarray | None = None
    """(D,), None before `fit`."""
    bias: float = 0.0
    mistakes: list[int] = field(default_factory=list)
    """Mistakes of each pass over the data, which are the changes of the weights too."""

    @property
    def converged(self) -> bool:
        """True if the last pass had no mistake."""
        return bool(self.mistakes) and self.mistakes[-1] == 0

    def fit(self, inputs: np.ndarray, labels: np.ndarray, *, passes: int = 100) -> "Perceptron":
        """Learns from examples in their order, until a pass has no mistake.

        Args:
            inputs: (N, D), finite.
            labels: (N,), -1 or 1.
            passes: at most.

        Returns:
            Itself.

        Raises:
            ValueError: shapes do not fit, labels are others than -1 and 1, or inputs are not finite.
        """
        inputs, labels = np.asarray(inputs, float), np.asarray(labels)
        if inputs.ndim != 2 or labels.shape != inputs.shape[:1] or not np.isfinite(inputs).all():
            rule = "inputs must be finite (N, D) with one label each"
            raise ValueError(f"{rule}; got {inputs.shape} and {labels.shape}.")
        if not np.isin(labels, (-1, 1)).all():
            raise ValueError(f"labels must be -1 or 1; got {np.unique(labels)[:5]}. Turn 0 and 1 into them: 2 * y - 1.")
        self.weights, self.bias, self.mistakes = np.zeros(inputs.shape[1]), 0.0, []
        for _ in range(passes):
            wrong = 0
            for example, label in zip(inputs, labels, strict=True):
                if label * (self.weights @ example + self.bias) <= 0:
                    self.weights = self.weights + label * example
                    self.bias += float(label)
                    wrong += 1
            self.mistakes.append(wrong)
            if wrong == 0:
                break
        return self

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns -1 or 1 for each row of inputs (N, D); 0 is -1.

        Raises:
            ValueError: it has not learned yet, or an input is not finite.
        """
        if self.weights is None:
            raise ValueError("a perceptron must learn before it predicts; call fit first.")
        if not np.isfinite(inputs).all():
            raise ValueError("inputs must be finite; got NaN or infinity, which lie on no side.")
        return np.where(np.asarray(inputs, float) @ self.weights + self.bias > 0, 1, -1)

    def draw(self, inputs: np.ndarray, labels: np.ndarray, path=None):
        """Draws examples of two inputs and the boundary between the classes.

        Args:
            inputs: (N, 2).
            labels: (N,), -1 or 1.
            path: of a PNG to write; None writes none.

        Returns:
            The figure of Matplotlib.

        Raises:
            ValueError: there are not two inputs.
        """
        from matplotlib.figure import Figure

        inputs, labels = np.asarray(inputs, float), np.asarray(labels)
        if inputs.ndim != 2 or inputs.shape[1] != 2:
            raise ValueError(f"a boundary is drawn for two inputs (N, 2); got {inputs.shape}.")
        figure = Figure(figsize=(4, 4), layout="constrained")
        axes = figure.add_subplot()
        low, high = inputs.min(axis=0) - 0.5, inputs.max(axis=0) + 0.5
        grid = np.stack(np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200)), axis=-1)
        sides = self.predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        axes.contourf(grid[..., 0], grid[..., 1], sides, levels=(-2, 0, 2), colors=("#f3d9c6", "#cfe0f3"))
        for label, marker, colour in ((-1, "o", "#b4541a"), (1, "s", "#1f5fa8")):
            chosen = inputs[labels == label]
            axes.plot(chosen[:, 0], chosen[:, 1], marker, color=colour, label=f"class {label:+d}")
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def mistake_bound(inputs: np.ndarray, labels: np.ndarray, direction: np.ndarray) -> float:
    """Returns Novikoff's bound (R / m)^2 on the mistakes of a perceptron.

    Args:
        inputs: (N, D); a column of ones is appended for the bias.
        labels: (N,), -1 or 1.
        direction: (D + 1,), weights and bias of any line that separates the data.

    Raises:
        ValueError: the direction does not separate the data, or there is not one label for each row.

    Example:
        >>> mistake_bound(np.array([[-1.0], [1.0]]), np.array([-1, 1]), np.array([1.0, 0.0]))
        2.0
    """
    if np.shape(labels) != np.shape(inputs)[:1]:
        raise ValueError(f"each row must have a label; got {np.shape(inputs)} and {np.shape(labels)}.")
    extended = np.hstack([np.asarray(inputs, float), np.ones((len(inputs), 1))])
    direction = np.asarray(direction, float) / max(np.linalg.norm(direction), np.finfo(float).tiny)
    margin = (np.asarray(labels) * (extended @ direction)).min()
    if margin <= 0:
        raise ValueError(f"direction must separate the data; its margin is {margin:.3g}.")
    return float((extended**2).sum(axis=1).max() / margin**2)

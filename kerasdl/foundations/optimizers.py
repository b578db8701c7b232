"""Optimizers by hand: gradient descent and what was added to it, each the same to the last digits as Keras's.

Momentum remembers the way, so that steps across a ravine cancel and steps along it add. AdaGrad, RMSProp and Adam
divide each weight's step by the size of its gradients, so that all weights move at one speed. Adam's averages begin at
0 and are too small at first; the factor 1 / (1 - beta^t) mends it. AdamW shrinks weights beside the step, where a
penalty in the loss would be divided by the size of the gradients too.

Where formulas differ between papers and programs, Keras's are taken: AdaGrad's sums begin at 0.1; epsilon stands inside
the root in AdaGrad and RMSProp and outside in Adam; bias correction is in Adam's rate, so that epsilon is not
corrected.

Sources: Nesterov https://proceedings.mlr.press/v28/sutskever13.html; AdaGrad
https://jmlr.org/papers/v12/duchi11a.html; Adam https://arxiv.org/abs/1412.6980, algorithm 1; AdamW
https://arxiv.org/abs/1711.05101, algorithm 2.
"""

from collections.abc import Callable, Mapping

import numpy as np


class Optimizer:
    """Base of optimizers: `step` changes weights in place, and keeps numbers about each of them by name."""

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate
        self.steps = 0
        self.state: dict[tuple[str, str], np.ndarray] = {}

    def step(self, weights: dict[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> None:
        """Moves each weight against its gradient.

        Args:
            weights: arrays by name, which are replaced in this dict.
            gradients: arrays of the same names.

        Raises:
            ValueError: names or shapes differ.
        """
        if set(weights) != set(gradients):
            raise ValueError(f"gradients must name the weights {sorted(weights)}; got {sorted(gradients)}.")
        self.steps += 1
        for name in weights:
            gradient = np.asarray(gradients[name], float)
            if gradient.shape != np.shape(weights[name]):
                raise ValueError(f"the gradient of {name!r} must be {np.shape(weights[name])}; got {gradient.shape}.")
            weights[name] = weights[name] + self.change(name, weights[name], gradient)

    def change(self, name: str, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Returns what is added to a weight."""
        raise NotImplementedError

    def average(self, kind: str, name: str, value: np.ndarray, decay: float) -> np.ndarray:
        """Returns an exponential average, decay old + (1 - decay) new, that begins at 0."""
        old = self.state.get((kind, name), np.zeros_like(value))
        self.state[kind, name] = decay * old + (1.0 - decay) * value
        return self.state[kind, name]


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's look ahead.

    The velocity is v <- m v - r g. Plain momentum moves by v; Nesterov by m v - r g, the step after the next one.

    Example:
        >>> weights = {"w": np.array([1.0])}
        >>> SGD(0.1).step(weights, {"w": np.array([2.0])})
        >>> weights["w"]
        array([0.8])
    """

    def __init__(self, learning_rate: float = 0.01, *, momentum: float = 0.0, nesterov: bool = False):
        super().__init__(learning_rate)
        self.momentum, self.nesterov = momentum, nesterov

    def change(self, name, weight, gradient):
        velocity = self.momentum * self.state.get(("velocity", name), 0.0) - self.learning_rate * gradient
        self.state["velocity", name] = velocity
        return self.momentum * velocity - self.learning_rate * gradient if self.nesterov else velocity


class AdaGrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients: they only become smaller."""

    def __init__(self, learning_rate: float = 0.001, *, start: float = 0.1, epsilon: float = 1e-7):
        super().__init__(learning_rate)
        self.start, self.epsilon = start, epsilon

    def change(self, name, weight, gradient):
        total = self.state.get(("sum", name), np.full_like(gradient, self.start)) + gradient**2
        self.state["sum", name] = total
        return -self.learning_rate * gradient / np.sqrt(total + self.epsilon)


class RMSProp(Optimizer):
    """Steps divided by the root of an average of squared gradients, which forgets (Hinton's lecture 6e, 2012)."""

    def __init__(self, learning_rate: float = 0.001, *, rho: float = 0.9, epsilon: float = 1e-7):
        super().__init__(learning_rate)
        self.rho, self.epsilon = rho, epsilon

    def change(self, name, weight, gradient):
        square = self.average("square", name, gradient**2, self.rho)
        return -self.learning_rate * gradient / np.sqrt(square + self.epsilon)


class Adam(Optimizer):
    """Average of gradients over the root of the average of their squares, both corrected for their start at 0."""

    def __init__(
        self, learning_rate: float = 0.001, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-7
    ):
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def change(self, name, weight, gradient):
        mean = self.average("mean", name, gradient, self.beta1)
        square = self.average("square", name, gradient**2, self.beta2)
        rate = self.learning_rate * np.sqrt(1.0 - self.beta2**self.steps) / (1.0 - self.beta1**self.steps)
        return -rate * mean / (np.sqrt(square) + self.epsilon)


class AdamW(Adam):
    """Adam whose weights shrink by rate times decay in each step, apart from the gradient."""

    def __init__(self, learning_rate: float = 0.001, *, weight_decay: float = 0.004, **settings: float):
        super().__init__(learning_rate, **settings)
        self.weight_decay = weight_decay

    def change(self, name, weight, gradient):
        shrunk = -self.learning_rate * self.weight_decay * weight
        return shrunk + super().change(name, weight, gradient)


# Surfaces of two numbers for `race`: function, gradient, start.
SURFACES: dict[str, tuple[Callable, Callable, tuple[float, float]]] = {
    "ravine": (
        lambda p: 0.5 * (p[0] ** 2 + 50.0 * p[1] ** 2),
        lambda p: np.array([p[0], 50.0 * p[1]]),
        (-4.0, 1.0),
    ),
    "saddle": (
        lambda p: 0.5 * (p[0] ** 2 - p[1] ** 2) + 0.05 * p[1] ** 4,
        lambda p: np.array([p[0], -p[1] + 0.2 * p[1] ** 3]),
        (-3.0, 1e-3),
    ),
    "Rosenbrock": (
        lambda p: (1.0 - p[0]) ** 2 + 100.0 * (p[1] - p[0] ** 2) ** 2,
        lambda p: np.array([-2.0 * (1.0 - p[0]) - 400.0 * p[0] * (p[1] - p[0] ** 2), 200.0 * (p[1] - p[0] ** 2)]),
        (-1.2, 1.0),
    ),
}
# Each with a rate at which it goes down on all three surfaces.
RACERS: dict[str, Callable[[], Optimizer]] = {
    "gradient descent": lambda: SGD(1e-3),
    "momentum": lambda: SGD(1e-3, momentum=0.9),
    "Nesterov": lambda: SGD(1e-3, momentum=0.9, nesterov=True),
    "AdaGrad": lambda: AdaGrad(0.3),
    "RMSProp": lambda: RMSProp(0.01),
    "Adam": lambda: Adam(0.03),
    "AdamW": lambda: AdamW(0.03),
}


def race(surface: str, *, steps: int = 300) -> dict[str, np.ndarray]:
    """Returns the paths (steps + 1, 2) of all optimizers on a surface: `ravine`, `saddle` or `Rosenbrock`.

    Raises:
        ValueError: there is no such surface.

    Example:
        >>> sorted(race("ravine", steps=3))[:2]
        ['AdaGrad', 'Adam']
    """
    if surface not in SURFACES:
        raise ValueError(f"surface must be one of {', '.join(SURFACES)}; got {surface!r}.")
    _, slope, start = SURFACES[surface]
    paths = {}
    for name, make in RACERS.items():
        weights, optimizer, path = {"p": np.array(start)}, make(), [np.array(start)]
        for _ in range(steps):
            optimizer.step(weights, {"p": slope(weights["p"])})
            path.append(weights["p"])
        paths[name] = np.array(path)
    return paths


def draw_race(path=None, *, steps: int = 300):
    """Draws the paths of `race` over each surface, and below how the function falls.

    Args:
        path: of a PNG to write; None writes none.
        steps: of each optimizer.

    Returns:
        The figure of Matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, len(SURFACES))
    for column, (surface, (function, _, _)) in enumerate(SURFACES.items()):
        paths = race(surface, steps=steps)
        ends = np.concatenate(list(paths.values()))
        low, high = ends.min(axis=0) - 0.5, ends.max(axis=0) + 0.5
        grid = np.meshgrid(np.linspace(low[0], high[0], 150), np.linspace(low[1], high[1], 150))
        values = function(np.stack(grid))
        axes[0][column].contour(*grid, np.log(values - values.min() + 1e-2), levels=15, colors="#bbbbbb")
        axes[0][column].set_title(surface)
        for name, points in paths.items():
            axes[0][column].plot(points[:, 0], points[:, 1], label=name)
            axes[1][column].plot(function(points.T), label=name)
        axes[1][column].set_xlabel("step")
    for below in axes[1][::2]:
        below.set_yscale("log")
    axes[1][0].set_ylabel("function")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(RACERS))
    if path is not None:
        figure.savefig(path)
    return figure

"""Recurrent layers by hand: RNN, LSTM and GRU, and backpropagation through time.

A recurrent layer reads one step after the other and keeps a state, h_t = f(x_t, h_t-1). Backward, the gradient of every
step goes back through all steps before it: it is multiplied by the Jacobian of one step again and again, and fades or
grows like a power. An LSTM's cell is changed by addition and a gate, c_t = f c_t-1 + i g, so that its gradient lasts as
long as the forget gate is open (https://doi.org/10.1162/neco.1997.9.8.1735; forget gates
https://doi.org/10.1162/089976600300015015). A GRU has one gate for both (https://arxiv.org/abs/1406.1078, section 2.3).

Truncated backpropagation stops after a number of steps: what happened earlier is not learned from.

Deviations: gates stand in Keras's order, i f c o and z r h; the GRU resets after the matrix product and has two biases,
as Keras's does; forget gates begin with a bias of one.
"""

import numpy as np

from .activations import sigmoid
from .initializers import initializer
from .layers import Layer


class Recurrent(Layer):
    """Base of recurrent layers: the loop over steps, forward and backward.

    Args:
        inputs: D, numbers of a step.
        units: of the state.
        seed: of the kernels.
    """

    gates = 1

    def __init__(self, inputs: int, units: int, *, seed: int = 0):
        rng, wide = np.random.default_rng(seed), self.gates * units
        super().__init__(
            kernel=initializer("xavier_uniform")((inputs, wide), rng),
            recurrent_kernel=np.hstack([initializer("orthogonal")((units, units), rng) for _ in range(self.gates)]),
            bias=np.zeros(wide),
        )
        self.units = units

    def start(self, batch: int) -> tuple[np.ndarray, ...]:
        """Returns the first state, zeros; its first array (B, units) is the output of a step."""
        return (np.zeros((batch, self.units)),)

    def step(self, x: np.ndarray, state: tuple) -> tuple[tuple, tuple]:
        """Returns the next state, and what the way back needs, from inputs (B, D) and a state."""
        raise NotImplementedError

    def step_back(self, memory: tuple, gradient: tuple) -> tuple[np.ndarray, tuple]:
        """Returns the gradients of the inputs and the state of a step from that of its new state; adds the weights'."""
        raise NotImplementedError

    def forward(self, x, *, training=False):
        """Returns the outputs (B, T, units) of all steps of sequences (B, T, D)."""
        x, state, outputs, self.memories = np.asarray(x, float), self.start(len(x)), [], []
        for moment in range(x.shape[1]):
            state, memory = self.step(x[:, moment], state)
            self.memories.append(memory)
            outputs.append(state[0])
        return np.stack(outputs, axis=1)

    def backward(self, gradient, *, steps: int | None = None):
        """Returns the gradient (B, T, D) of the sequences, by backpropagation through time.

        Args:
            gradient: (B, T, units), of the outputs of all steps; zeros but at the end for a classifier.
            steps: how many steps each output's gradient goes back, 1 or more; None goes to the beginning.
        """
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be 1 or more; got {steps}.")
        self.gradients = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        total = len(self.memories)
        if steps is None or steps >= total:
            inward = self._back(gradient, total - 1, 0)
        else:
            inward = np.zeros((gradient.shape[0], total, self.weights["kernel"].shape[0]))
            for last in range(total):
                alone = np.zeros_like(gradient)
                alone[:, last] = gradient[:, last]
                inward += self._back(alone, last, max(0, last - steps + 1))
        return inward

    def _back(self, gradient: np.ndarray, last: int, first: int) -> np.ndarray:
        """Returns the gradient of the inputs, going from the last step to the first; keeps the norms of the states'."""
        inward = np.zeros((gradient.shape[0], len(self.memories), self.weights["kernel"].shape[0]))
        flowing = tuple(np.zeros_like(each) for each in self.start(gradient.shape[0]))
        self.norms = np.zeros(len(self.memories))
        for moment in range(last, first - 1, -1):
            flowing = (flowing[0] + gradient[:, moment], *flowing[1:])
            self.norms[moment] = np.sqrt(sum((each**2).sum() for each in flowing))
            inward[:, moment], flowing = self.step_back(self.memories[moment], flowing)
        return inward

    def add_gradients(self, x: np.ndarray, h: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Adds the weights' gradients of sums x W + h U + b, and returns those of x and h."""
        self.gradients["kernel"] += x.T @ sums
        self.gradients["recurrent_kernel"] += h.T @ sums
        self.gradients["bias"] += sums.sum(axis=0)
        return sums @ self.weights["kernel"].T, sums @ self.weights["recurrent_kernel"].T


class RNN(Recurrent):
    """Simple recurrent layer, h_t = tanh(x_t W + h_t-1 U + b) (Elman, https://doi.org/10.1207/s15516709cog1402_1).

    Example:
        >>> RNN(3, 4).forward(np.ones((2, 5, 3))).shape
        (2, 5, 4)
    """

    def step(self, x, state):
        (h,) = state
        new = np.tanh(x @ self.weights["kernel"] + h @ self.weights["recurrent_kernel"] + self.weights["bias"])
        return (new,), (x, h, new)

    def step_back(self, memory, gradient):
        x, h, new = memory
        inward, flowing = self.add_gradients(x, h, gradient[0] * (1.0 - new**2))
        return inward, (flowing,)


class LSTM(Recurrent):
    """Long short-term memory: a cell that gates write, keep and read.

    i, f, o are sigmoids and g a tanh of x W + h U + b; c_t = f c_t-1 + i g, h_t = o tanh(c_t).

    Example:
        >>> LSTM(3, 4).weights["kernel"].shape
        (3, 16)
    """

    gates = 4

    def __init__(self, inputs: int, units: int, *, seed: int = 0):
        super().__init__(inputs, units, seed=seed)
        self.weights["bias"][units : 2 * units] = 1.0

    def start(self, batch):
        return (np.zeros((batch, self.units)),) * 2

    def step(self, x, state):
        h, c = state
        sums = x @ self.weights["kernel"] + h @ self.weights["recurrent_kernel"] + self.weights["bias"]
        i, f, g, o = np.split(sums, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        return (o * np.tanh(new), new), (x, h, c, i, f, g, o, new)

    def step_back(self, memory, gradient):
        x, h, c, i, f, g, o, new = memory
        outward, bent = gradient[0], np.tanh(new)
        cell = gradient[1] + outward * o * (1.0 - bent**2)
        sums = (cell * g * i * (1 - i), cell * c * f * (1 - f), cell * i * (1 - g**2), outward * bent * o * (1 - o))
        inward, flowing = self.add_gradients(x, h, np.hstack(sums))
        return inward, (flowing, cell * f)


class GRU(Recurrent):
    """Gated recurrent unit: h_t = z h_t-1 + (1 - z) tanh(x W_h + b + r (h_t-1 U_h + b')).

    Its `bias` is (2, 3 units): of the inputs and of the state.

    Example:
        >>> GRU(3, 4).forward(np.ones((2, 5, 3))).shape
        (2, 5, 4)
    """

    gates = 3

    def __init__(self, inputs: int, units: int, *, seed: int = 0):
        super().__init__(inputs, units, seed=seed)
        self.weights["bias"] = np.zeros((2, 3 * units))

    def step(self, x, state):
        (h,) = state
        z, r, w = np.split(x @ self.weights["kernel"] + self.weights["bias"][0], 3, axis=-1)
        z_state, r_state, u = np.split(h @ self.weights["recurrent_kernel"] + self.weights["bias"][1], 3, axis=-1)
        z, r = sigmoid(z + z_state), sigmoid(r + r_state)
        g = np.tanh(w + r * u)
        return (z * h + (1.0 - z) * g,), (x, h, z, r, g, u)

    def step_back(self, memory, gradient):
        x, h, z, r, g, u = memory
        (outward,) = gradient
        bent = outward * (1.0 - z) * (1.0 - g**2)
        update, reset = outward * (h - g) * z * (1 - z), bent * u * r * (1 - r)
        read, carried = np.hstack((update, reset, bent)), np.hstack((update, reset, bent * r))
        self.gradients["kernel"] += x.T @ read
        self.gradients["recurrent_kernel"] += h.T @ carried
        self.gradients["bias"] += np.stack((read.sum(axis=0), carried.sum(axis=0)))
        flowing = outward * z + carried @ self.weights["recurrent_kernel"].T
        return read @ self.weights["kernel"].T, (flowing,)


def gradient_by_step(kind: str, *, steps: int = 50, units: int = 32, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Returns the norm of the gradient of the state at each step, where the loss looks at the last output alone.

    Args:
        kind: `rnn`, `lstm` or `gru`.
        steps: length of the sequences.
        units: of the state.
        scale: factor of the recurrent kernel; below 1 the gradient of an RNN vanishes, above it may explode.
        seed: of weights and inputs.

    Raises:
        ValueError: there is no such layer.

    Example:
        >>> norms = gradient_by_step("rnn", scale=0.5)
        >>> bool(norms[0] < 1e-6 * norms[-1])
        True
    """
    kinds = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}; got {kind!r}.")
    rng = np.random.default_rng(seed)
    layer = kinds[kind](4, units, seed=seed)
    layer.weights["recurrent_kernel"] = layer.weights["recurrent_kernel"] * scale
    outputs = layer.forward(0.1 * rng.normal(size=(8, steps, 4)))
    gradient = np.zeros_like(outputs)
    gradient[:, -1] = rng.normal(size=gradient[:, -1].shape)
    layer.backward(gradient)
    return layer.norms


def draw_gradients(path=None, *, steps: int = 50):
    """Draws `gradient_by_step` of an RNN with small, orthogonal and large recurrent kernels, an LSTM and a GRU.

    Args:
        path: of a PNG to write; None writes none.
        steps: length of the sequences.

    Returns:
        The figure of Matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    shown = [("rnn", 0.5), ("rnn", 1.0), ("rnn", 1.3), ("lstm", 1.0), ("gru", 1.0)]
    for kind, scale in shown:
        label = f"{kind.upper()}, recurrent kernel x {scale}"
        axes.semilogy(np.maximum(gradient_by_step(kind, steps=steps, scale=scale), 1e-20), label=label)
    axes.set_xlabel("step (the loss looks at the last)")
    axes.set_ylabel("norm of the state's gradient")
    axes.legend(fontsize="small")
    if path is not None:
        figure.savefig(path)
    return figure

"""Dead ReLUs: a rate far too high kills units for good, a leak keeps them alive: `python docs/recipes/dead_relu.py`.

Ten seconds, in NumPy. A unit that is 0 for every example has no gradient and never comes back.
"""

import numpy as np

import kerasdl
from kerasdl.foundations import MLP, activations, optimizers

RATES = (0.05, 0.5, 0.75)


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 8 x 8 pixels of each digit, from 0 to 1, and its class."""
    images, labels = kerasdl.data.load("digits", split, scale=(0.0, 1.0)).arrays()
    return images[:, 2::4, 2::4].reshape(len(images), -1), labels


def dead_and_accuracy(activation: str, rate: float, epochs: int = 5, seed: int = 0) -> tuple[float, float]:
    """Trains by plain gradient descent; returns the share of dead hidden units, and the accuracy on test digits."""
    (inputs, labels), (shown, known) = digits("train"), digits("test")
    net = MLP((64, 64, 64, 10), activation=activation, seed=seed)
    net.fit(inputs, np.eye(10)[labels], epochs=epochs, optimizer=optimizers.SGD(rate))
    hidden, dead = shown, []
    for layer in net.layers[:-1]:
        hidden = layer.forward(hidden)
        dead.append(activations.dead_share(hidden))
    return float(np.mean(dead)), float((net.predict_classes(shown) == known).mean())


def main() -> dict[tuple[str, float], tuple[float, float]]:
    """Prints a table over activations and rates, and returns its figures."""
    print(f"{'activation':14}{'rate':>6}{'dead':>8}{'accuracy':>10}")
    found = {}
    for activation in ("relu", "leaky_relu"):
        for rate in RATES:
            found[activation, rate] = dead, accuracy = dead_and_accuracy(activation, rate)
            print(f"{activation:14}{rate:6}{dead:8.0%}{accuracy:10.3f}")
    return found


if __name__ == "__main__":
    main()

"""Dropout on and off: a wide net on few digits, three in ten labelled by chance: `python docs/recipes/dropout.py`.

A minute, in NumPy. Without dropout the net learns the wrong labels by heart, and is right for 0.77 of the test digits;
with it, for 0.86. Where all labels are right both come to 0.92: dropout helps against learning by heart, not always.
"""

import numpy as np

import kerasdl
from kerasdl.foundations import Dense, Dropout, losses, optimizers

EXAMPLES, WIDTH, WRONG = 300, 256, 0.3


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 8 x 8 pixels of each digit, from 0 to 1, and its class."""
    images, labels = kerasdl.data.load("digits", split, scale=(0.0, 1.0)).arrays()
    return images[:, 2::4, 2::4].reshape(len(images), -1), labels


def accuracies(rate: float, seed: int = 0, epochs: int = 150) -> tuple[float, float]:
    """Trains two hidden layers with dropout behind each; returns the accuracy on training and on test digits."""
    (inputs, labels), (shown, known) = digits("train"), digits("test")
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(inputs))[:EXAMPLES]
    inputs, labels = inputs[chosen], labels[chosen]
    labels = np.where(rng.random(EXAMPLES) < WRONG, rng.integers(0, 10, EXAMPLES), labels)
    layers = []
    for place, sizes in enumerate([(64, WIDTH), (WIDTH, WIDTH)]):
        layers += [Dense(*sizes, activation="relu", kernel="he_normal", seed=seed + place), Dropout(rate, seed=seed)]
    layers.append(Dense(WIDTH, 10, seed=seed + 2))
    dense = {f"layer{place}": layer for place, layer in enumerate(layers) if layer.weights}
    loss, optimizer = losses.loss("ce_from_logits"), optimizers.Adam(1e-3)

    def run(x: np.ndarray, training: bool) -> np.ndarray:
        for layer in layers:
            x = layer.forward(x, training=training)
        return x

    for _ in range(epochs):
        for part in np.array_split(rng.permutation(EXAMPLES), 4):
            gradient = loss.gradient(np.eye(10)[labels[part]], run(inputs[part], training=True))
            for layer in reversed(layers):
                gradient = layer.backward(gradient)
            weights = {f"{name}.{key}": each for name, layer in dense.items() for key, each in layer.weights.items()}
            optimizer.step(weights, {f"{n}.{key}": g for n, each in dense.items() for key, g in each.gradients.items()})
            for name, value in weights.items():
                layer, _, key = name.partition(".")
                dense[layer].weights[key] = value
    return tuple(
        float((run(x, training=False).argmax(axis=1) == y).mean()) for x, y in ((inputs, labels), (shown, known))
    )


def main(seeds: int = 3) -> dict[float, tuple[float, float]]:
    """Prints the mean accuracies over seeds by rate, and returns them."""
    found = {}
    for rate in (0.0, 0.5):
        found[rate] = tuple(np.mean([accuracies(rate, seed) for seed in range(seeds)], axis=0).tolist())
        print(f"dropout {rate}: train {found[rate][0]:.3f}, test {found[rate][1]:.3f}")
    return found


if __name__ == "__main__":
    main()

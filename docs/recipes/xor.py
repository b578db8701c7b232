"""XOR: one neuron never learns it, one hidden layer does: `python docs/recipes/xor.py`.

A second, in NumPy. The perceptron is right for 3 of the 4 points at best, whatever it tries; a net of 8 hidden units is
right for all. One made of linear layers, without activation, is not.
"""

import numpy as np

from kerasdl.foundations import MLP, Perceptron, optimizers

POINTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
CLASSES = np.array([0, 1, 1, 0])


def perceptron(passes: int = 200) -> float:
    """Returns the accuracy of a perceptron after all passes."""
    signs = 2 * CLASSES - 1
    return float((Perceptron().fit(POINTS, signs, passes=passes).predict(POINTS) == signs).mean())


def net(activation: str = "tanh", seed: int = 0) -> float:
    """Returns the accuracy of a net with one hidden layer."""
    model = MLP((2, 8, 2), activation=activation, kernel="xavier_uniform", seed=seed)
    model.fit(POINTS, np.eye(2)[CLASSES], epochs=300, batch_size=4, optimizer=optimizers.Adam(0.05))
    return float((model.predict_classes(POINTS) == CLASSES).mean())


def main() -> dict[str, float]:
    """Prints the accuracy of all, and returns them."""
    found = {"perceptron": perceptron(), "net": net(), "net without activation": net("linear")}
    for name, accuracy in found.items():
        print(f"{name:24}{accuracy:.2f}")
    return found


if __name__ == "__main__":
    main()

"""Vanishing gradients: what reaches the first of 20 layers: `python docs/recipes/vanishing_gradients.py`.

A second, in NumPy. Through 20 layers of sigmoids the gradient loses a factor of ten every layer or two; ReLU with
He's rule, and tanh with Xavier's, keep it. ReLU with Xavier's rule loses a factor of a thousand in all layers alike. In
recurrent nets the same happens over time: see docs/pictures/gradients_through_time.png.
"""

import numpy as np

from kerasdl.foundations import MLP

NETS = {
    "sigmoid, Xavier": ("sigmoid", "xavier_normal"),
    "tanh, Xavier": ("tanh", "xavier_normal"),
    "relu, Xavier": ("relu", "xavier_normal"),
    "relu, He": ("relu", "he_normal"),
}


def gradient_norms(activation: str, kernel: str, depth: int = 20, width: int = 64, seed: int = 0) -> np.ndarray:
    """Returns the norm of the gradient of each hidden layer's kernel, from the first layer on."""
    rng = np.random.default_rng(seed)
    net = MLP((width,) * (depth + 1) + (10,), activation=activation, kernel=kernel, seed=seed)
    inputs, targets = rng.normal(size=(64, width)), np.eye(10)[rng.integers(0, 10, 64)]
    _, gradients = net.loss_and_gradients(inputs, targets)
    return np.array([np.linalg.norm(gradients[f"layer{layer}.kernel"]) for layer in range(depth)])


def main() -> dict[str, np.ndarray]:
    """Prints the norms of some layers, and returns all."""
    found = {name: gradient_norms(*settings) for name, settings in NETS.items()}
    print(f"{'':18}" + "".join(f"{f'layer {layer}':>12}" for layer in (1, 5, 10, 15, 20)))
    for name, norms in found.items():
        print(f"{name:18}" + "".join(f"{norms[layer - 1]:12.1e}" for layer in (1, 5, 10, 15, 20)))
    return found


if __name__ == "__main__":
    main()

"""Pictures and figures of docs/understanding_runs.md: about a minute on two cores.

python tools/make_run_pictures.py
"""

from pathlib import Path

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras

from kerasdl.train import RunConfig, fit
from kerasdl.train.diagnostics.batch_size_finder import find_batch_size
from kerasdl.train.diagnostics.gradient_monitor import GradientMonitor
from kerasdl.train.diagnostics.learning_rate_finder import find_learning_rate
from kerasdl.train.diagnostics.step_profiler import profile_step

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
DEPTH, WIDTH = 16, 32


def small_net() -> keras.Model:
    """Returns the net for the search of learning rate and batch size."""
    small = {**kerasdl.spec("mobilenet_v2").tiny, "image_shape": (32, 32, 1), "classes": 10}
    return kerasdl.build("mobilenet_v2", **small)


def deep_net(activation: str) -> keras.Model:
    """Returns a deep net of plain layers, in which gradients may vanish."""
    tensor = keras.Input((32, 32, 1))
    x = keras.layers.Flatten()(tensor)
    for number in range(1, DEPTH + 1):
        x = keras.layers.Dense(WIDTH, activation, kernel_initializer="he_normal", name=f"hidden{number}")(x)
    return keras.Model(tensor, keras.layers.Dense(10, name="head")(x))


def main() -> None:
    """Draws the pictures and prints the figures."""
    keras.utils.set_random_seed(0)
    digits = kerasdl.data.load("digits")
    model = small_net()
    rates = find_learning_rate(model, digits)
    rates.plot(PICTURES / "rate_finder.png")
    print(rates, "\n")
    print(find_batch_size(model, digits), "\n")
    print(profile_step(model, digits), "\n")
    for activation in ("relu", "sigmoid"):
        monitor = GradientMonitor(every=20)
        fit(deep_net(activation), digits, callbacks=[monitor], config=RunConfig(steps=400, progress="off"))
        norms = monitor.history["gradient_norm"]
        first, last = norms["hidden1"][-1], norms["head"][-1]
        print(activation, f"first {first:.2g}, last {last:.2g}, ratio {first / last:.2g}", *monitor.findings, sep="\n")
    monitor.plot(PICTURES / "gradients.png")


if __name__ == "__main__":
    main()

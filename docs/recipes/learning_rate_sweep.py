"""Learning rates from far too low to far too high, three seeds each: `python docs/recipes/learning_rate_sweep.py`.

Half a minute, in NumPy; the picture is docs/pictures/learning_rates.png. The errors after five epochs fall as the rate
grows, 0.90, 0.65, 0.11 and 0.06 at 0.5, until it is so high that the loss grows: the best rate stands just before that.
"""

import numpy as np
from matplotlib.figure import Figure

import kerasdl
from kerasdl.foundations import MLP, optimizers

RATES = (1e-3, 1e-2, 1e-1, 0.5, 1.0, 5.0)
EPOCHS, BATCH = 5, 32


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 8 x 8 pixels of each digit, from 0 to 1, and its class."""
    images, labels = kerasdl.data.load("digits", split, scale=(0.0, 1.0)).arrays()
    return images[:, 2::4, 2::4].reshape(len(images), -1), labels


def error_of(setting: dict[str, float], seed: int) -> dict[str, float]:
    """Trains by plain gradient descent; returns the share of new digits that are read wrongly."""
    (inputs, labels), (shown, known) = digits("train"), digits("validation")
    net = MLP((64, 32, 10), seed=seed)
    with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too high ends in infinity
        net.fit(inputs, np.eye(10)[labels], epochs=EPOCHS, batch_size=BATCH, optimizer=optimizers.SGD(setting["rate"]))
        return {"error": float((net.predict_classes(shown) != known).mean())}


def main(path: str | None = None, seeds: int = 3) -> dict[float, list[float]]:
    """Prints the errors of each rate and returns them by seed; draws them if a path is given."""
    result = kerasdl.train.sweep(
        error_of, {"rate": RATES}, seeds=range(seeds), figure="error", mode="min", progress="off"
    )
    print(result.table())
    found = {cell.setting["rate"]: list(cell.values.values()) for cell in result.cells}
    if path is not None:
        draw(found, path)
    return found


def draw(errors: dict[float, list[float]], path: str) -> None:
    """Draws the error of each seed, and their mean, over the rate."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for rate, values in errors.items():
        axes.plot([rate] * len(values), values, "o", color="0.6")
    axes.plot(list(errors), [np.mean(values) for values in errors.values()], color="tab:blue")
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"error after {EPOCHS} epochs", ylim=(0, 1))
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main("learning_rates.png")

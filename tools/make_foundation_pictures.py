"""Pictures of docs/foundations.md: boundary, initial weights, optimizers, gradients through time, experiments."""

from pathlib import Path

import numpy as np

from kerasdl.foundations import Perceptron, experiments, initializers, optimizers, recurrence

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


def main(folder: Path = PICTURES) -> None:
    """Draws all of them into a folder."""
    rng = np.random.default_rng(0)
    labels = np.repeat([-1, 1], 30)
    points = rng.normal(size=(60, 2)) + 1.6 * labels[:, np.newaxis]
    Perceptron().fit(points, labels).draw(points, labels, folder / "perceptron.png")
    initializers.draw_variance(folder / "initial_weights.png")
    optimizers.draw_race(folder / "optimizer_race.png")
    recurrence.draw_gradients(folder / "gradients_through_time.png")
    experiments.draw(experiments.by_capacity(), folder / "capacity.png", title="errors by degree of a polynomial")
    experiments.draw(experiments.double_descent(), folder / "double_descent.png", title="errors by random features")


if __name__ == "__main__":
    main()

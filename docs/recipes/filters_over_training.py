"""Filters of a CNN before and while it learns digits, as one picture: `python docs/recipes/filters_over_training.py`.

Half a minute. The first epoch moves the first layer's filters most, and yet they keep the look of their random start:
on so few digits the layers behind learn to use what is there. The printed figure is the share of each epoch in the way
that the filters went.
"""

import itertools

import numpy as np

import kerasdl
from kerasdl import explain
from kerasdl.core import plotting
from kerasdl.train import RunConfig

EPOCHS = 6


def filters_by_epoch(seed: int = 0) -> tuple[np.ndarray, list[float]]:
    """Trains epoch after epoch; returns the first filters (EPOCHS + 1, filters, h, w), and how far each epoch led."""
    kerasdl.set_seed(seed)
    model, data = kerasdl.build("lenet5", image_shape=(32, 32, 1), classes=10), kerasdl.data.load("digits")
    views, kernels = [explain.filters(model)[..., 0]], [np.array(model.layers[1].get_weights()[0])]
    for epoch in range(EPOCHS):
        config = RunConfig(epochs=1, batch_size=64, learning_rate=2e-3, seed=seed + epoch, progress="off")
        kerasdl.train.fit(model, data, config=config)
        views.append(explain.filters(model)[..., 0])
        kernels.append(np.array(model.layers[1].get_weights()[0]))
    steps = [float(np.linalg.norm(after - before)) for before, after in itertools.pairwise(kernels)]
    return np.stack(views), steps


def main(path: str | None = None) -> list[float]:
    """Draws the filters if a path is given, prints the share of each epoch, and returns the shares."""
    views, steps = filters_by_epoch()
    shares = [step / sum(steps) for step in steps]
    print(*(f"epoch {epoch + 1}: {share:.2f}" for epoch, share in enumerate(shares)), sep="\n")
    if path is not None:
        figure = plotting.new_figure(6.0, 6.5)
        axes = figure.subplots(len(views), views.shape[1])
        for row, (line, images) in enumerate(zip(axes, views, strict=True)):
            line[0].set_ylabel("start" if row == 0 else f"epoch {row}", rotation=0, ha="right", va="center")
            for each, image in zip(line, images, strict=True):
                each.imshow(image, cmap="gray")
                each.set_xticks([])
                each.set_yticks([])
        plotting.keep(figure, path)
    return shares


if __name__ == "__main__":
    main("filters.png")

"""Experiments of the textbooks on nets from scratch: fitting too little and too much, width, batches, starts.

Each experiment is a function that returns its figures, a dict of curves, and `draw` makes a picture of them. All use
the chapters' own `MLP` on one curve with noise, so that they take seconds.

Sources: double descent https://arxiv.org/abs/1812.11118, with random features as in its section 3; approximation by
width https://doi.org/10.1016/0893-6080(89)90020-8; batch size and rate https://arxiv.org/abs/1711.00489.
"""

from collections.abc import Sequence

import numpy as np

from . import initializers, optimizers
from .networks import MLP


def curve(count: int, *, noise: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns places (N, 1) from -5 to 5 and noisy values (N, 1) of sin(x) + x / 5.

    Example:
        >>> curve(5)[0].shape
        (5, 1)
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-5.0, 5.0, (count, 1))
    return x, np.sin(x) + 0.2 * x + noise * rng.normal(size=x.shape)


def _errors(net: MLP, train: tuple, test: tuple) -> tuple[float, float]:
    return tuple(float(np.mean((net.forward(x) - y) ** 2)) for x, y in (train, test))


def _net(width: int, seed: int, depth: int = 1) -> MLP:
    return MLP((1, *(width,) * depth, 1), activation="tanh", loss="mse", kernel="lecun_normal", seed=seed)


def by_capacity(
    degrees: Sequence[int] = (1, 2, 3, 4, 5, 7, 9, 11, 13), *, count: int = 25, seeds: int = 20
) -> dict[str, np.ndarray]:
    """Errors of polynomials fitted to few points, by degree: both are high first, then that of new points rises again.

    Returns:
        `degree`, `train` and `test`, medians of mean squared errors over seeds; noise alone is 0.04.

    Example:
        >>> figures = by_capacity()
        >>> int(figures["degree"][figures["test"].argmin()])
        5
    """
    errors = np.array([[_polynomial_errors(degree, count, seed) for seed in range(seeds)] for degree in degrees])
    train, test = np.median(errors, axis=1).T
    return {"degree": np.array(degrees), "train": train, "test": test}


def by_data(
    counts: Sequence[int] = (12, 20, 50, 200, 1000), *, degree: int = 9, seeds: int = 20
) -> dict[str, np.ndarray]:
    """Errors of one polynomial by the number of points: the two errors meet at the noise.

    Returns:
        `points`, `train` and `test`, medians of mean squared errors over seeds.

    Example:
        >>> figures = by_data()
        >>> bool(figures["test"][0] > 3 * figures["test"][-1])
        True
    """
    errors = np.array([[_polynomial_errors(degree, count, seed) for seed in range(seeds)] for count in counts])
    train, test = np.median(errors, axis=1).T
    return {"points": np.array(counts), "train": train, "test": test}


def _polynomial_errors(degree: int, count: int, seed: int) -> tuple[float, float]:
    (x, y), (shown, wanted) = curve(count, seed=seed), curve(1000, seed=seed + 1000)
    fitted = np.polynomial.Polynomial.fit(x[:, 0], y[:, 0], degree, domain=(-5, 5))
    return np.mean((fitted(x[:, 0]) - y[:, 0]) ** 2), np.mean((fitted(shown[:, 0]) - wanted[:, 0]) ** 2)


def by_epochs(*, epochs: int = 400, width: int = 100, count: int = 15, seed: int = 0) -> dict[str, np.ndarray]:
    """Errors of a wide net on few points, epoch by epoch: that of new points is lowest before the end.

    Returns:
        `epoch`, `train` and `test`, mean squared errors every ten epochs.

    Example:
        >>> figures = by_epochs(epochs=40)
        >>> figures["epoch"].tolist()
        [10, 20, 30, 40]
    """
    train, test = curve(count, noise=0.4, seed=seed), curve(500, noise=0.4, seed=seed + 1)
    net, optimizer, rows = _net(width, seed, depth=2), optimizers.Adam(0.01), []
    for _ in range(epochs // 10):
        net.fit(*train, epochs=10, batch_size=10, optimizer=optimizer)
        rows.append(_errors(net, train, test))
    errors = np.array(rows)
    return {"epoch": 10 * np.arange(1, len(rows) + 1), "train": errors[:, 0], "test": errors[:, 1]}


def double_descent(
    widths: Sequence[int] = (5, 10, 20, 30, 40, 60, 100, 300), *, count: int = 40, seeds: int = 10
) -> dict[str, np.ndarray]:
    """Errors of a linear model over random ReLU features, by their number: worst where it just fits all points.

    Points have ten inputs, and values are a linear function of them with noise. The solution of least length is taken,
    so that more features than points make it smoother again.

    Returns:
        `features`, `train` and `test`, medians of mean squared errors over seeds.

    Example:
        >>> figures = double_descent()
        >>> int(figures["features"][figures["test"].argmax()])
        40
    """
    rows = []
    for width in widths:
        errors = []
        for seed in range(seeds):
            rng = np.random.default_rng((seed, width))
            teacher, weights = rng.normal(size=(10, 1)), rng.normal(size=(10, width))
            x, shown = rng.normal(size=(count, 10)), rng.normal(size=(300, 10))
            y, wanted = (each @ teacher + rng.normal(size=(len(each), 1)) for each in (x, shown))
            features, of_shown = (np.maximum(each @ weights, 0.0) for each in (x, shown))
            solved = np.linalg.pinv(features) @ y
            errors.append([np.mean((features @ solved - y) ** 2), np.mean((of_shown @ solved - wanted) ** 2)])
        rows.append(np.median(errors, axis=0))
    return {"features": np.array(widths), "train": np.array(rows)[:, 0], "test": np.array(rows)[:, 1]}


def by_width(
    widths: Sequence[int] = (1, 2, 4, 8, 16, 32), *, epochs: int = 300, seed: int = 0
) -> dict[str, np.ndarray]:
    """Largest error of nets with one hidden layer on a curve without noise, by width: it falls with the width.

    Returns:
        `width` and `error`, the largest distance from the curve.

    Example:
        >>> by_width((1, 2), epochs=2)["width"].tolist()
        [1, 2]
    """
    train, errors = curve(200, noise=0.0, seed=seed), []
    for width in widths:
        net = _net(width, seed)
        for rate in (0.03, 0.01, 0.003):
            net.fit(*train, epochs=epochs // 3, batch_size=20, optimizer=optimizers.Adam(rate))
        errors.append(np.abs(net.forward(train[0]) - train[1]).max())
    return {"width": np.array(widths), "error": np.array(errors)}


def batch_and_rate(
    batches: Sequence[int] = (5, 20, 80),
    rates: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1),
    *,
    epochs: int = 30,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Errors of plain gradient descent by batch size and rate: the best rate grows with the batch.

    Returns:
        `batch` (B,), `rate` (R,) and `test` (B, R), mean squared errors; infinite where training diverged.

    Example:
        >>> batch_and_rate((20,), (0.01, 0.1), epochs=2)["test"].shape
        (1, 2)
    """
    train, test = curve(400, seed=seed), curve(500, seed=seed + 1)
    errors = np.full((len(batches), len(rates)), np.inf)
    for row, batch in enumerate(batches):
        for column, rate in enumerate(rates):
            net = _net(30, seed)
            with np.errstate(all="ignore"):
                net.fit(*train, epochs=epochs, batch_size=batch, optimizer=optimizers.SGD(rate))
                error = _errors(net, train, test)[1]
            errors[row, column] = error if error < 1e3 else np.inf
    return {"batch": np.array(batches), "rate": np.array(rates), "test": errors}


def start_and_depth(
    names: Sequence[str] = ("small_normal", "xavier_normal", "he_normal"),
    depths: Sequence[int] = (1, 4, 8),
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Errors of ReLU nets after a few epochs, by initial weights and depth: a start that fades does not learn deep.

    Returns:
        `start`, `depth` and `test` (starts, depths), mean squared errors.

    Example:
        >>> start_and_depth(("he_normal",), (1,))["test"].shape
        (1, 1)
    """
    for name in names:
        initializers.initializer(name)
    train, test = curve(300, seed=seed), curve(500, seed=seed + 1)
    errors = np.zeros((len(names), len(depths)))
    for row, name in enumerate(names):
        for column, depth in enumerate(depths):
            net = MLP((1, *(40,) * depth, 1), loss="mse", kernel=name, seed=seed)
            net.fit(*train, epochs=40, batch_size=20, optimizer=optimizers.Adam(0.003))
            errors[row, column] = _errors(net, train, test)[1]
    return {"start": np.array(names), "depth": np.array(depths), "test": errors}


def draw(figures: dict[str, np.ndarray], path=None, *, title: str = ""):
    """Draws the figures of an experiment: curves over its first entry, 1e-4 at least, or a table of colours.

    Args:
        figures: as an experiment returns them.
        path: of a PNG to write; None writes none.
        title: above the picture.

    Returns:
        The figure of Matplotlib.
    """
    from matplotlib.figure import Figure

    (across, places), *others = figures.items()
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    if others[-1][1].ndim == 2:
        (down, columns), (_, table) = others
        picture = axes.imshow(np.log10(np.minimum(table, 1e3)), cmap="viridis_r", aspect="auto")
        axes.set_yticks(range(len(places)), places)
        axes.set_xticks(range(len(columns)), columns)
        axes.set(ylabel=across, xlabel=down)
        figure.colorbar(picture, label="log10 of the error")
    else:
        for name, values in others:
            axes.plot(places, np.maximum(values, 1e-4), "o-", label=name)
        axes.set(xlabel=across, ylabel="error", yscale="log")
        axes.set_xscale("log" if places.max() > 20 * max(places.min(), 1) else "linear")
        axes.legend()
    if path is not None:
        figure.savefig(path)
    return figure

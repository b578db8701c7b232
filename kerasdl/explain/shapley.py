"""Shapley values: what each part of an example adds to a score, shared out fairly (https://arxiv.org/abs/1705.07874).

They are computed here; `method="package"` leaves the drawing and the regression to the package shap. Deviations: hidden
parts are replaced by a background, as the paper's equation 11 supposes of independent features.
"""

import importlib.util
from collections.abc import Iterator
from itertools import combinations
from math import comb, factorial
from typing import Any

import numpy as np

from kerasdl.core import checks

from .coalitions import Game, PartValues, games_of
from .targets import Target

METHODS = ("exact", "kernel", "permutation", "package")
MOST_EXACT = 16
"""Parts of a game of which all coalitions are scored."""


def shap(
    model: Any,
    inputs: Any,
    target: Target = None,
    *,
    groups: Any = None,
    background: Any = 0.0,
    method: str | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> PartValues:
    """Returns the Shapley values of the parts of each example; their sum is the score less that of the background.

    Source: https://arxiv.org/abs/1705.07874, equation 4 and theorem 2 (`kernel`); `permutation`: Castro et al. 2009,
    https://doi.org/10.1016/j.cor.2008.04.004, each order followed by its reverse.

    Args:
        model: a functional `keras.Model` of one input, or a bundle of one.
        inputs: (B, ...), floats as the model takes them, or token ids.
        target: a class, one for each example, or a function from the outputs to scores (B,); None takes the likeliest
            class of each example.
        groups: the part of each number: whole numbers of the shape of the inputs, or of one example, the last axis of
            images left out; -1 is always shown. None makes each column of (B, M) a part. `superpixels` cuts images.
        background: what stands in the place of a hidden part: a number, an example, or several to average over. For
            token ids, the id of the padding or of an unknown token.
        method: `exact` scores all coalitions, up to 16 parts; `kernel` solves a weighted regression over drawn ones, or
            over all where `samples` reach; `permutation` averages over random orders; `package` calls
            `shap.KernelExplainer` of the package shap, whose errors are not known and come as NaN. None takes `exact`
            up to 10 parts, and `kernel` beyond: what is installed does not change a result.
        samples: coalitions that are scored for an example, about; `exact` takes what it needs.
        seed: seed of what is drawn.

    Returns:
        Values (B, M), the score of the background, and standard errors.

    Raises:
        ArgumentError: arguments do not fit, examples have several numbers of parts, there are too few samples, or the
            package is not installed.

    Example:
        >>> rows = np.array([[1.0, 2.0, 3.0]], "float32")
        >>> column = keras.Input((3,))
        >>> linear = keras.Model(column, keras.layers.Dense(1, kernel_initializer="ones")(column))
        >>> shap(linear, rows, 0).values.round(3)
        array([[1., 2., 3.]])
    """
    if method is not None:
        checks.one_of("method", method, METHODS)
    checks.at_least("samples", samples, 1)
    checks.at_least("seed", seed, 0)
    games, groups = games_of(model, inputs, target, groups, background)
    rng = np.random.default_rng(seed)
    found = [_values(game, method, samples, rng) for game in games]
    values, base, errors = (np.stack(each) for each in zip(*found, strict=True))
    return PartValues(values, base, errors, groups)


def _values(game: Game, method: str | None, samples: int, rng: np.random.Generator) -> tuple:
    """Returns the values (M,) of one game, the score of no part, and standard errors (M,)."""
    method = method or ("exact" if game.parts <= 10 else "kernel")
    ends = game.score(np.array([[False] * game.parts, [True] * game.parts]))
    base, whole = float(ends[0]), float(ends[1])
    if game.parts == 1:
        return np.array([whole - base]), base, np.zeros(1)
    if method == "exact":
        if game.parts > MOST_EXACT:
            hint = "Take kernel or permutation."
            checks.refuse(f"exact Shapley values are for at most {MOST_EXACT} parts", game.parts, hint)
        return _exact(game), base, np.zeros(game.parts)
    if method == "package":
        return _by_package(game, samples, rng), base, np.full(game.parts, np.nan)
    if method == "permutation":
        values, errors = _by_orders(game, samples, rng, base)
    else:
        values, errors = _by_regression(game, samples, rng, base, whole)
    return values, base, errors


def _exact(game: Game) -> np.ndarray:
    """Equation 4: the mean over all coalitions of what a part adds, weighed by the orders that make them."""
    numbers = np.arange(2**game.parts)
    coalitions = (numbers[:, None] >> np.arange(game.parts) & 1).astype(bool)
    scores, sizes = game.score(coalitions), coalitions.sum(axis=1)
    orders = factorial(game.parts)
    shares = np.array([factorial(n) * factorial(game.parts - n - 1) / orders for n in range(game.parts)])
    values = np.empty(game.parts)
    for part in range(game.parts):
        without = numbers[~coalitions[:, part]]
        values[part] = (shares[sizes[without]] * (scores[without | 1 << part] - scores[without])).sum()
    return values


def _by_package(game: Game, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The package's own kernel SHAP over the parts as columns: 1 is shown, and its background row hides all."""
    if importlib.util.find_spec("shap") is None:
        checks.refuse("method='package' needs the package shap", "not installed", "Run: pip install shap")
    import shap as package

    explainer = package.KernelExplainer(lambda shown: game.score(shown > 0.5), np.zeros((1, game.parts)))
    state = np.random.get_state()
    np.random.seed(rng.integers(2**32))  # the package draws from NumPy's global generator
    try:
        return np.ravel(explainer.shap_values(np.ones((1, game.parts)), nsamples=samples, silent=True, l1_reg=False))
    finally:
        np.random.set_state(state)


def _by_orders(game: Game, samples: int, rng: np.random.Generator, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Means over random orders of what a part adds to those before it; each order is followed by its reverse."""
    pairs = max(2, samples // (2 * game.parts))
    orders = [order for _ in range(pairs) for drawn in (rng.permutation(game.parts),) for order in (drawn, drawn[::-1])]
    places = np.argsort(orders, axis=1)  # the place of each part in each order
    steps = np.arange(1, game.parts + 1)
    shown = places[:, None, :] < steps[None, :, None]  # (orders, steps, M)
    scores = game.score(shown.reshape(-1, game.parts)).reshape(len(orders), game.parts)
    added = np.diff(scores, axis=1, prepend=base)
    by_part = np.take_along_axis(added, places, axis=1).reshape(pairs, 2, game.parts).mean(axis=1)
    return by_part.mean(axis=0), by_part.std(axis=0, ddof=1) / pairs**0.5


def _by_regression(
    game: Game, samples: int, rng: np.random.Generator, base: float, whole: float
) -> tuple[np.ndarray, np.ndarray]:
    """Theorem 2: the weighted least squares whose values add up to the score; errors by parts of the sample."""
    coalitions, weights, is_whole = _drawn(game.parts, samples, rng)
    scores = game.score(coalitions)
    if is_whole:
        return _solved(coalitions, weights, scores - base, whole - base), np.zeros(game.parts)
    values = _solved(coalitions, weights, scores - base, whole - base)
    folds = 10
    left_out = [np.arange(len(scores)) // 2 % folds != fold for fold in range(folds)]  # pairs stay together
    parts = np.stack([_solved(coalitions[kept], weights[kept], scores[kept] - base, whole - base) for kept in left_out])
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
    return values, np.sqrt((folds - 1) / folds * spread)  # the jackknife


def _drawn(parts: int, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """Returns coalitions with their weights, each beside its complement, and whether all are there."""
    if 2**parts - 2 <= samples:
        every = [list(chosen) for chosen in _all_coalitions(parts)]
        coalitions = np.zeros((len(every), parts), bool)
        for row, chosen in zip(coalitions, every, strict=True):
            row[chosen] = True
        sizes = coalitions.sum(axis=1)
        weights = np.array([(parts - 1) / (comb(parts, n) * n * (parts - n)) for n in sizes])
        return coalitions, weights, True
    if samples < 20 * parts:
        checks.refuse(f"samples must be at least 20 a part, {20 * parts} here", samples, "Or take larger parts.")
    sizes = np.arange(1, parts)
    chances = 1.0 / (sizes * (parts - sizes))
    drawn = rng.choice(sizes, samples // 2, p=chances / chances.sum())
    first = rng.random((len(drawn), parts)).argsort(axis=1) < drawn[:, None]
    coalitions = np.stack([first, ~first], axis=1).reshape(-1, parts)
    return coalitions, np.ones(len(coalitions)), False


def _all_coalitions(parts: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, parts):
        yield from combinations(range(parts), size)


def _solved(coalitions: np.ndarray, weights: np.ndarray, scores: np.ndarray, total: float) -> np.ndarray:
    """Returns the values of least weighted squares whose sum is `total`: the last one is what the others leave."""
    shown = coalitions.astype(float)
    design = shown[:, :-1] - shown[:, -1:]
    wanted = scores - total * shown[:, -1]
    root = np.sqrt(weights)
    values = np.linalg.lstsq(root[:, None] * design, root * wanted, rcond=None)[0]
    return np.append(values, total - values.sum())

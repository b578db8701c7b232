"""Mathematics behind deep learning: SVD and PCA, entropy and information, surfaces of losses and their saddle points.

The best matrix of rank k keeps the k largest singular values, and the squares of the others are the error (Eckart and
Young, https://doi.org/10.1007/BF02288367). At a point without slope, the eigenvalues of the Hessian tell a minimum (all
positive) from a saddle (both signs); in many dimensions most such points are saddles
(https://arxiv.org/abs/1406.2572). The surface of a real net is looked at along two random directions whose filters are
scaled to the net's own (https://arxiv.org/abs/1712.09913, section 4).
"""

from collections.abc import Callable, Mapping

import numpy as np

from .gradient_checking import numerical_gradient


def compress(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, float]:
    """Returns the best matrix of a rank, by its singular values, and its error.

    Args:
        matrix: (H, W), such as a grey image.
        rank: singular values that are kept, 1 or more; rank (H + W + 1) numbers hold the result.

    Returns:
        (H, W), and the root of the sum of the squares of the singular values that were left out.

    Raises:
        ValueError: it is no matrix, or the rank is outside.

    Example:
        >>> compress(np.diag([3.0, 2.0, 1.0]), 2)[1]
        1.0
    """
    if np.ndim(matrix) != 2:
        raise ValueError(f"matrix must be (H, W); got {np.shape(matrix)}. Compress each channel by itself.")
    if not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"rank must be from 1 to {min(matrix.shape)}; got {rank}.")
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank] * values[:rank] @ right[:rank], float(np.sqrt((values[rank:] ** 2).sum()))


def principal_components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the directions of the largest variance of rows (N, D), by SVD of the centred rows.

    Returns:
        Directions (count, D), each with its largest entry positive; shares of the variance (count,); rows in these
        directions (N, count).

    Raises:
        ValueError: the count is outside.

    Example:
        >>> principal_components(np.array([[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]), 1)[0].round(3)
        array([[0.707, 0.707]])
    """
    if not 1 <= count <= min(rows.shape):
        raise ValueError(f"count must be from 1 to {min(rows.shape)}; got {count}.")
    centred = rows - rows.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, np.newaxis], axis=1)
    directions = directions[:count] * np.sign(largest[:count])
    total = max(float((values**2).sum()), np.finfo(float).tiny)
    return directions, values[:count] ** 2 / total, centred @ directions.T


def entropy(shares: np.ndarray) -> float:
    """Returns -sum p log p in nats of shares (K,); 0 log 0 is 0.

    Raises:
        ValueError: shares are negative or do not sum to 1.

    Example:
        >>> round(entropy(np.array([0.5, 0.5])), 4)
        0.6931
    """
    shares = _shares(shares)
    return float(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum())


def cross_entropy(shares: np.ndarray, predicted: np.ndarray) -> float:
    """Returns -sum p log q in nats; infinite where q is 0 and p is not.

    Raises:
        ValueError: shares are negative or do not sum to 1, or shapes differ.

    Example:
        >>> round(cross_entropy(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 4)
        0.6931
    """
    shares, predicted = _shares(shares), _shares(predicted)
    if shares.shape != predicted.shape:
        raise ValueError(f"both must be shares of the same things; got {shares.shape} and {predicted.shape}.")
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.where(shares > 0, predicted, 1.0))
    return float(-(np.where(shares > 0, shares, 0.0) * logarithms).sum())


def _shares(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if not ((values >= 0).all() and abs(values.sum() - 1.0) < 1e-4):
        raise ValueError(f"shares must be 0 or more and sum to 1; got a sum of {values.sum():.4g}.")
    return values


def kl_divergence(shares: np.ndarray, predicted: np.ndarray) -> float:
    """Returns sum p log(p / q) in nats: cross-entropy less entropy, 0 or more, and 0 for equal shares alone.

    Example:
        >>> kl_divergence(np.array([0.3, 0.7]), np.array([0.3, 0.7]))
        0.0
    """
    return cross_entropy(shares, predicted) - entropy(shares)


def mutual_information(joint: np.ndarray) -> float:
    """Returns what one variable tells of another, in nats: the divergence of joint shares from the product of the sums.

    Args:
        joint: shares (J, K) that sum to 1.

    Example:
        >>> round(mutual_information(np.array([[0.5, 0.0], [0.0, 0.5]])), 4)
        0.6931
    """
    joint = np.asarray(joint, float)
    return kl_divergence(joint.ravel(), np.outer(joint.sum(axis=1), joint.sum(axis=0)).ravel())


def hessian(function: Callable[[np.ndarray], float], point: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Returns the second derivatives (D, D) of a function at a point (D,), by central differences.

    Example:
        >>> hessian(lambda p: p[0] ** 2 - p[1] ** 2, np.zeros(2)).round(4)
        array([[ 2.,  0.],
               [ 0., -2.]])
    """
    point, count = np.asarray(point, float), np.size(point)
    ways = step * np.eye(count)
    result = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            corners = (function(point + a * ways[i] + b * ways[j]) * a * b for a in (1, -1) for b in (1, -1))
            result[i, j] = sum(corners) / (4 * step**2)
    return (result + result.T) / 2


def critical_point(function: Callable[[np.ndarray], float], point: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns the kind of a point without slope, by the spectrum of its Hessian, and the eigenvalues, least first.

    Returns:
        `minimum`, `maximum`, `saddle`, or `flat` where an eigenvalue is nearly 0 and decides.

    Raises:
        ValueError: the function has a slope there.

    Example:
        >>> critical_point(lambda p: p[0] ** 2 - p[1] ** 2, np.zeros(2))[0]
        'saddle'
    """
    values = np.linalg.eigvalsh(hessian(function, point))
    small = 1e-4 * max(1.0, float(np.abs(values).max()))
    if (slope := np.abs(numerical_gradient(function, point)).max()) > small:
        raise ValueError(f"a critical point must have no slope; got one of {slope:.3g}.")
    if values[0] < -small and values[-1] > small:
        return "saddle", values
    if np.abs(values).min() <= small:
        return "flat", values
    return ("minimum" if values[0] > 0 else "maximum"), values


def loss_surface(
    loss: Callable[[Mapping[str, np.ndarray]], float],
    weights: Mapping[str, np.ndarray],
    *,
    reach: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the loss of a net on a plane through its weights, along two random directions.

    Each filter of a direction, the column of a kernel, has the length of that of the net; biases stand still, so that
    nets of different size of weights can be compared (https://arxiv.org/abs/1712.09913, section 4).

    Args:
        loss: function of weights by name.
        weights: by name; kernels have their filters last.
        reach: distance to each side, in lengths of the weights.
        points: along each direction, odd so that the middle is the net.
        seed: of the directions.

    Returns:
        Places (points,) from -reach to reach, and losses (points, points).

    Raises:
        ValueError: points is not odd.

    Example:
        >>> places, losses = loss_surface(lambda w: float((w["w"] ** 2).sum()), {"w": np.ones((2, 2))}, points=3)
        >>> float(losses[1, 1])
        4.0
    """
    if points % 2 == 0 or points < 3:
        raise ValueError(f"points must be odd, 3 or more, so that the net is one of them; got {points}.")
    rng = np.random.default_rng(seed)
    directions = [{name: _like(rng, weight) for name, weight in weights.items()} for _ in range(2)]
    places = np.linspace(-reach, reach, points)
    places[points // 2] = 0.0
    losses = np.zeros((points, points))
    for row, a in enumerate(places):
        for column, b in enumerate(places):
            moved = {name: w + a * directions[0][name] + b * directions[1][name] for name, w in weights.items()}
            losses[row, column] = loss(moved)
    return places, losses


def _like(rng: np.random.Generator, weight: np.ndarray) -> np.ndarray:
    """Returns a random direction whose filters are as long as those of a weight; zeros for a bias."""
    if weight.ndim < 2:
        return np.zeros_like(weight)
    drawn = rng.normal(size=weight.shape)
    axes = tuple(range(weight.ndim - 1))
    lengths = np.sqrt((drawn**2).sum(axis=axes, keepdims=True))
    return drawn / lengths * np.sqrt((weight**2).sum(axis=axes, keepdims=True))


def draw_surface(places: np.ndarray, losses: np.ndarray, path=None):
    """Draws a surface of `loss_surface` as heights and as contours.

    Args:
        places: (points,).
        losses: (points, points).
        path: of a PNG to write; None writes none.

    Returns:
        The figure of Matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    grid = np.meshgrid(places, places, indexing="ij")
    solid = figure.add_subplot(1, 2, 1, projection="3d")
    solid.plot_surface(*grid, losses, cmap="viridis")
    flat = figure.add_subplot(1, 2, 2)
    figure.colorbar(flat.contourf(*grid, losses, levels=20), label="loss")
    flat.plot([0], [0], "w+", label="the net")
    flat.legend()
    if path is not None:
        figure.savefig(path)
    return figure

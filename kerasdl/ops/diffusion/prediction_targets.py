"""Prediction targets of diffusion networks: noise, data, v, flow and score, and conversions between them.

Everywhere x = alpha * x0 + sigma * eps, with the rates alpha of the data and sigma of the noise.
"""

from typing import Any

from keras import ops

from kerasdl.core import checks

TARGETS = ("eps", "x0", "v", "flow", "score")


def per_example(rates: Any, like: Any) -> Any:
    """Returns numbers of each example (B,) with axes of 1 behind them, as many as `like` has, and in its dtype.

    A single number stays as it is.

    Args:
        rates: (B,) or () floats.
        like: (B, ...) floats.

    Returns:
        (B, 1, ...) or ().

    Raises:
        ArgumentError: the rates have more than one axis.

    Example:
        >>> per_example(np.ones(4), np.ones((4, 8, 8, 3), "float32")).shape
        TensorShape([4, 1, 1, 1])
    """
    like = ops.convert_to_tensor(like)
    rates = ops.convert_to_tensor(rates, like.dtype)
    if len(rates.shape) > 1:
        checks.refuse("rates must be one number, or one of each example", tuple(rates.shape))
    return ops.reshape(rates, (-1, *([1] * (len(like.shape) - 1)))) if len(rates.shape) else rates


def diffuse(x0: Any, noise: Any, alpha: Any, sigma: Any) -> Any:
    """Returns noisy data, alpha * x0 + sigma * noise.

    Source: https://arxiv.org/abs/2107.00630, equation 1.

    Args:
        x0: (B, ...) data.
        noise: the same shape, drawn from the standard normal distribution.
        alpha: (B,) or () rates of the data.
        sigma: (B,) or () rates of the noise.

    Returns:
        (B, ...) of the dtype of `x0`.

    Raises:
        ArgumentError: the shapes of data and noise differ.

    Example:
        >>> diffuse(np.full((1, 2), 2.0), np.ones((1, 2)), [0.5], [0.25]).numpy()
        array([[1.25, 1.25]])
    """
    x0 = ops.convert_to_tensor(x0)
    noise = ops.cast(ops.convert_to_tensor(noise), x0.dtype)
    if len(noise.shape) != len(x0.shape) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(noise.shape, x0.shape, strict=True)
    ):
        checks.refuse("data and noise must have one shape", (tuple(x0.shape), tuple(noise.shape)))
    return per_example(alpha, x0) * x0 + per_example(sigma, x0) * noise


def data_and_noise(prediction: Any, x: Any, alpha: Any, sigma: Any, target: str) -> tuple[Any, Any]:
    """Returns the data and the noise that a prediction stands for.

    `v` is alpha * eps - sigma * x0 and `flow` is eps - x0: both are defined at every rate. `eps` and `score`,
    -eps / sigma, say nothing of the data where alpha is 0, and `x0` nothing of the noise where sigma is 0; the result
    is then infinite or no number.

    Source: `v`, https://arxiv.org/abs/2202.00512, section 4; `flow`, https://arxiv.org/abs/2209.03003, equation 1;
    `score`, https://arxiv.org/abs/2011.13456, section 2.1.

    Args:
        prediction: (B, ...) output of a network.
        x: (B, ...) noisy data that it was given.
        alpha: (B,) or () rates of the data.
        sigma: (B,) or () rates of the noise.
        target: kind of the prediction: `eps`, `x0`, `v`, `flow` or `score`.

    Returns:
        Data and noise, (B, ...) each, with alpha * data + sigma * noise = x.

    Raises:
        ArgumentError: an unknown target.

    Example:
        >>> [float(each) for each in data_and_noise(-1.0, 1.0, 0.5, 0.5, "flow")]
        [1.5, 0.5]
    """
    checks.one_of("target", target, TARGETS)
    x = ops.convert_to_tensor(x)
    prediction = ops.cast(ops.convert_to_tensor(prediction), x.dtype)
    alpha, sigma = per_example(alpha, x), per_example(sigma, x)
    if target == "x0":
        return prediction, (x - alpha * prediction) / sigma
    if target in ("eps", "score"):
        noise = prediction if target == "eps" else -sigma * prediction
        return (x - sigma * noise) / alpha, noise
    if target == "v":
        power = ops.square(alpha) + ops.square(sigma)
        return (alpha * x - sigma * prediction) / power, (sigma * x + alpha * prediction) / power
    return (x - sigma * prediction) / (alpha + sigma), (x + alpha * prediction) / (alpha + sigma)


def prediction_of(x0: Any, noise: Any, alpha: Any, sigma: Any, target: str) -> Any:
    """Returns what a network of that target is to predict of data and noise.

    Source: as in `data_and_noise`.

    Args:
        x0: (B, ...) data.
        noise: (B, ...) noise.
        alpha: (B,) or () rates of the data.
        sigma: (B,) or () rates of the noise; not 0 for the target `score`.
        target: `eps`, `x0`, `v`, `flow` or `score`.

    Returns:
        (B, ...) of the dtype of `x0`.

    Raises:
        ArgumentError: an unknown target.

    Example:
        >>> float(prediction_of(2.0, 1.0, 0.8, 0.6, "v"))
        -0.4...
    """
    checks.one_of("target", target, TARGETS)
    x0 = ops.convert_to_tensor(x0)
    noise = ops.cast(ops.convert_to_tensor(noise), x0.dtype)
    alpha, sigma = per_example(alpha, x0), per_example(sigma, x0)
    if target == "x0":
        return x0
    if target in ("eps", "score"):
        return noise if target == "eps" else -noise / sigma
    return alpha * noise - sigma * x0 if target == "v" else noise - x0


def convert_prediction(prediction: Any, x: Any, alpha: Any, sigma: Any, source: str, target: str) -> Any:
    """Returns a prediction of one target as one of another.

    Source: as in `data_and_noise`.

    Args:
        prediction: (B, ...) output of a network.
        x: (B, ...) noisy data that it was given.
        alpha: (B,) or () rates of the data.
        sigma: (B,) or () rates of the noise.
        source: target of the prediction: `eps`, `x0`, `v`, `flow` or `score`.
        target: target of the result, one of these.

    Returns:
        (B, ...) of the dtype of `x`.

    Raises:
        ArgumentError: an unknown target.

    Example:
        >>> float(convert_prediction(0.5, 2.0, 0.8, 0.6, "eps", "x0"))
        2.125
    """
    checks.one_of("target", target, TARGETS)
    data, noise = data_and_noise(prediction, x, alpha, sigma, source)
    return prediction_of(data, noise, alpha, sigma, target)

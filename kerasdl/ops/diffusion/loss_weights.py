"""Loss weights of diffusion by signal-to-noise ratio, and the preconditioning of EDM."""

from typing import Any

from keras import ops

from kerasdl.core import checks

WEIGHTINGS = ("simple", "min_snr", "p2", "edm", "truncated_snr", "likelihood")
WEIGHTED = ("eps", "x0", "v", "flow")


def diffusion_weights(
    alpha: Any,
    sigma: Any,
    weighting: str = "simple",
    target: str = "eps",
    *,
    gamma: float | None = None,
    deviation: float = 0.5,
) -> Any:
    """Returns the weight of the squared error of a target at each noise level.

    With the ratio r = alpha^2 / sigma^2, the weights of the error of the data are: `min_snr` min(r, gamma); `p2`
    r / (1 + r)^gamma; `edm` r + 1 / deviation^2; `truncated_snr` max(r, 1); `likelihood` r, that of the noise by 1.
    Errors of other targets are multiples of that of the data, and their weights are divided accordingly. `simple` is 1
    for whichever target.

    Source: `simple`, https://arxiv.org/abs/2006.11239, equation 14; `min_snr`, https://arxiv.org/abs/2303.09556,
    equation 4; `p2`, https://arxiv.org/abs/2204.00227, equation 8; `edm`, https://arxiv.org/abs/2206.00364, table 1;
    `truncated_snr`, https://arxiv.org/abs/2202.00512, section 4.

    Args:
        alpha: (B,) rates of the data.
        sigma: (B,) rates of the noise, above 0.
        weighting: a name of these.
        target: `eps`, `x0`, `v` or `flow`; `v` supposes alpha^2 + sigma^2 = 1.
        gamma: of `min_snr` (None takes 5) and `p2` (None takes 1), from 0 to 1000.
        deviation: standard deviation of the data, of `edm`, above 0.

    Returns:
        (B,) floats.

    Raises:
        ArgumentError: an unknown name, or an argument breaks its range.

    Example:
        >>> diffusion_weights([0.8], [0.6], "min_snr", "x0", gamma=5.0).numpy()
        array([1.7777...], dtype=float32)
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    checks.one_of("target", target, WEIGHTED)
    gamma = checks.within("gamma", {"p2": 1.0}.get(weighting, 5.0) if gamma is None else gamma, 0.0, 1000.0)
    checks.within("deviation", deviation, 1e-6, 1e6)
    alpha = ops.convert_to_tensor(alpha)
    sigma = ops.convert_to_tensor(sigma, alpha.dtype)
    if weighting == "simple":
        return ops.ones_like(alpha * sigma)
    ratio = ops.square(alpha / sigma)
    of_data = {
        "min_snr": lambda: ops.minimum(ratio, gamma),
        "p2": lambda: ratio / (1 + ratio) ** gamma,
        "edm": lambda: ratio + 1 / deviation**2,
        "truncated_snr": lambda: ops.maximum(ratio, 1.0),
        "likelihood": lambda: ratio,
    }[weighting]()
    # squared error of the data for one of 1 of the target
    error = {
        "x0": lambda: ops.ones_like(ratio),
        "eps": lambda: 1 / ratio,
        "v": lambda: 1 / (1 + ratio),
        "flow": lambda: ops.square(1 / (1 + ops.sqrt(ratio))),
    }[target]()
    return of_data * error


def edm_coefficients(ratio: Any, deviation: float = 0.5) -> tuple[Any, Any, Any, Any]:
    """Returns the preconditioning of EDM, under which inputs and targets of a network have variance 1 at every noise.

    The data are `skip * y + output * network(input * y, noise)`, with y = x / alpha.

    Source: https://arxiv.org/abs/2206.00364, table 1.

    Args:
        ratio: noise-to-data ratio sigma / alpha, above 0.
        deviation: standard deviation of the data, above 0.

    Returns:
        `(skip, output, input, noise)` in the shape and dtype of the ratio.

    Raises:
        ArgumentError: the deviation is not above 0.

    Example:
        >>> [round(float(each), 4) for each in edm_coefficients(1.0, 1.0)]
        [0.5, 0.7071, 0.7071, 0.0]
    """
    checks.within("deviation", deviation, 1e-6, 1e6)
    ratio = ops.convert_to_tensor(ratio)
    power = ops.square(ratio) + deviation**2
    root = ops.sqrt(power)
    return deviation**2 / power, ratio * deviation / root, 1 / root, ops.log(ratio) / 4

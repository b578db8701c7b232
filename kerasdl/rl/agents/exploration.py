"""Exploration laws: epsilon-greedy and Boltzmann probabilities of whole-number actions, and draws by them.

Source: Sutton and Barto 2018, http://incompleteideas.net/book/the-book-2nd.html, sections 2.2 and 13.1.
"""

from typing import Any

import tensorflow as tf

from kerasdl.core import checks

EXPLORATIONS = ("epsilon_greedy", "boltzmann")


def check_exploration(config: Any) -> None:
    """Refuses settings of exploration out of their range.

    Raises:
        ArgumentError: one of them is.
    """
    checks.one_of("exploration", config.exploration, EXPLORATIONS)
    low, high = (0.0, 1.0) if config.exploration == "epsilon_greedy" else (1e-6, 1e9)
    for name in ("amount", "final_amount"):
        checks.within(name, getattr(config, name), low, high)
    checks.within("exploration_share", config.exploration_share, 0.0, 1.0)


def exploration_law(values: tf.Tensor, amount: Any, kind: str, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the probability of each action.

    Args:
        values: (B, A) values of the actions.
        amount: share of random actions of `"epsilon_greedy"`, 0 to 1, or the temperature of `"boltzmann"`, above 0.
        kind: `"epsilon_greedy"`: the rest goes evenly to the best actions; `"boltzmann"`: softmax of
            values / temperature.
        mask: (B, A) bool, allowed actions; None allows all.

    Returns:
        Probabilities, float32 (B, A); those of a row sum to 1.

    Raises:
        ArgumentError: the kind is unknown.

    Example:
        >>> exploration_law(tf.constant([[1.0, 3.0]]), 0.2, "epsilon_greedy").numpy().round(2)
        array([[0.1, 0.9]], dtype=float32)
    """
    checks.one_of("exploration", kind, EXPLORATIONS)
    allowed = tf.ones_like(values) if mask is None else tf.cast(mask, tf.float32)
    values = masked(values, mask)
    if kind == "boltzmann":
        return tf.nn.softmax(values / amount)
    best = allowed * tf.cast(tf.equal(values, tf.reduce_max(values, -1, keepdims=True)), tf.float32)
    random, greedy = (each / tf.reduce_sum(each, -1, keepdims=True) for each in (allowed, best))
    return amount * random + (1.0 - amount) * greedy


def masked(values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns values (B, A) in which forbidden actions (mask False) have the lowest number of float32.

    Example:
        >>> bool(masked(tf.constant([[1.0, 2.0]]), tf.constant([[True, False]]))[0, 1] < -1e38)
        True
    """
    return values if mask is None else tf.where(mask, values, values.dtype.min)


def draw_actions(law: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Returns actions drawn by their probabilities.

    Args:
        law: (B, A) probabilities.
        noise: (B,) uniform in [0, 1).

    Returns:
        Actions, int32 (B,); an action of probability 0 is never drawn.

    Example:
        >>> draw_actions(tf.constant([[0.5, 0.0, 0.5]] * 2), tf.constant([0.2, 0.7])).numpy()
        array([0, 2], dtype=int32)
    """
    sums = tf.cumsum(law, axis=-1)
    at = tf.minimum(noise[:, None] * sums[:, -1:], sums[:, -1:] * (1.0 - 1e-6))
    return tf.reduce_sum(tf.cast(sums <= at, tf.int32), -1)


def linear_schedule(progress: tf.Tensor, first: float, last: float, share: float) -> tf.Tensor:
    """Returns a number that goes from `first` to `last` in a line during a share of the training, and stays there.

    Args:
        progress: share of the training that is done, 0 to 1.
        first: number at the start.
        last: number at the end.
        share: share of the training that the change takes; 0 begins with the last number.

    Returns:
        A float32 of the shape of `progress`.

    Example:
        >>> float(linear_schedule(tf.constant(0.25), 1.0, 0.0, 0.5))
        0.5
    """
    done = tf.clip_by_value(progress / max(share, 1e-12), 0.0, 1.0) if share else tf.ones_like(progress)
    return first + (last - first) * done

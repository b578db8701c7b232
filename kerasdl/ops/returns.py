"""Returns and advantages of reinforcement learning: discounted, n-step and lambda returns, GAE and V-trace.

All take rollouts of T steps in time order, (T, ...), such as (T, N) of N environments. `next_values` are values of the
true successors, which a cut episode still has: termination alone sets the value of what follows to 0, and truncation
does not. Returns never run on from one episode into the next. The last step counts as cut, since nothing behind it is
known.
"""

from typing import Any

from keras import ops

from kerasdl.core import checks


def lambda_returns(
    rewards: Any, next_values: Any, terminated: Any, ended: Any, *, discount: float, decay: float
) -> Any:
    """Returns lambda returns: means of all n-step returns, the longer ones with falling weights.

    Each is r + discount * ((1 - decay) * value + decay * return) of the next step; where an episode is cut, the value
    of its successor takes the place of the next return.

    Source: Sutton and Barto, Reinforcement Learning, second edition, section 12.1.

    Args:
        rewards: (T, ...) floats.
        next_values: (T, ...) values of the successors.
        terminated: (T, ...) bools, true where nothing follows.
        ended: (T, ...) bools, true where the episode ended, terminated or truncated.
        discount: from 0 to 1.
        decay: lambda, from 0 (one step) to 1 (whole episodes).

    Returns:
        (T, ...) floats.

    Raises:
        ArgumentError: discount or decay lie outside 0 to 1.

    Example:
        >>> no = [False, False]
        >>> lambda_returns([1.0, 1.0], [5.0, 4.0], no, no, discount=0.5, decay=1.0).numpy().tolist()
        [2.5, 3.0]
    """
    rewards, next_values, follows, continues = _parts(rewards, next_values, terminated, ended, discount)
    checks.within("decay", decay, 0.0, 1.0)
    weights = decay * continues
    return _backward_sums(rewards + discount * follows * (1 - weights) * next_values, discount * weights * follows)


def discounted_returns(rewards: Any, next_values: Any, terminated: Any, ended: Any, *, discount: float) -> Any:
    """Returns discounted sums of rewards up to the end of each episode, and the value of what follows a cut.

    Source: Sutton and Barto, Reinforcement Learning, second edition, section 3.3.

    Args:
        rewards: (T, ...) floats.
        next_values: (T, ...) values of the successors; zeros leave out what follows a cut.
        terminated: (T, ...) bools, true where nothing follows.
        ended: (T, ...) bools, true where the episode ended, terminated or truncated.
        discount: from 0 to 1.

    Returns:
        (T, ...) floats.

    Raises:
        ArgumentError: discount lies outside 0 to 1.

    Example:
        >>> end = [False, False, True]
        >>> discounted_returns([1.0, 1.0, 1.0], [9.0, 9.0, 9.0], end, end, discount=0.5).numpy().tolist()
        [1.75, 1.5, 1.0]
    """
    return lambda_returns(rewards, next_values, terminated, ended, discount=discount, decay=1.0)


def n_step_returns(rewards: Any, next_values: Any, terminated: Any, ended: Any, *, discount: float, steps: int) -> Any:
    """Returns sums of at most n discounted rewards, and the discounted value of the state behind them.

    Source: Sutton and Barto, Reinforcement Learning, second edition, section 7.1.

    Args:
        rewards: (T, ...) floats.
        next_values: (T, ...) values of the successors.
        terminated: (T, ...) bools, true where nothing follows.
        ended: (T, ...) bools, true where the episode ended, terminated or truncated.
        discount: from 0 to 1.
        steps: n, rewards in a return at most; the end of an episode or of the rollout makes it shorter.

    Returns:
        (T, ...) floats.

    Raises:
        ArgumentError: discount lies outside 0 to 1, or steps is no integer of 1 or more.

    Example:
        >>> no = [False, False, False]
        >>> n_step_returns([1.0, 1.0, 1.0], [8.0, 8.0, 8.0], no, no, discount=0.5, steps=2).numpy().tolist()
        [3.5, 3.5, 5.0]
    """
    rewards, next_values, follows, continues = _parts(rewards, next_values, terminated, ended, discount)
    returns = rewards + discount * follows * next_values
    for _ in range(checks.at_least("steps", steps, 1) - 1):
        later = ops.concatenate([returns[1:], next_values[-1:]], axis=0)
        returns = rewards + discount * follows * (continues * later + (1 - continues) * next_values)
    return returns


def generalized_advantages(
    rewards: Any, values: Any, next_values: Any, terminated: Any, ended: Any, *, discount: float, decay: float
) -> Any:
    """Returns generalized advantage estimates (GAE): sums of temporal differences that fade by discount * decay.

    Source: https://arxiv.org/abs/1506.02438, section 3, equation 16. Plus `values` they are the lambda returns.

    Args:
        rewards: (T, ...) floats.
        values: (T, ...) values of the states before the steps.
        next_values: (T, ...) values of the successors.
        terminated: (T, ...) bools, true where nothing follows.
        ended: (T, ...) bools, true where the episode ended, terminated or truncated.
        discount: from 0 to 1.
        decay: lambda, from 0 to 1.

    Returns:
        (T, ...) floats.

    Raises:
        ArgumentError: discount or decay lie outside 0 to 1.

    Example:
        >>> no, ones = [False, False], [1.0, 1.0]
        >>> generalized_advantages(ones, ones, ones, no, no, discount=0.5, decay=0.5).numpy().tolist()
        [0.625, 0.5]
    """
    rewards, next_values, follows, continues = _parts(rewards, next_values, terminated, ended, discount)
    checks.within("decay", decay, 0.0, 1.0)
    differences = rewards + discount * follows * next_values - ops.convert_to_tensor(values, rewards.dtype)
    return _backward_sums(differences, discount * decay * continues)


def v_trace(
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    ended: Any,
    log_ratios: Any,
    *,
    discount: float,
    largest_step: float = 1.0,
    largest_trace: float = 1.0,
) -> tuple[Any, Any]:
    """Returns V-trace targets and advantages: values of a policy from rollouts of another one.

    Source: https://arxiv.org/abs/1802.01561, section 4.1. With equal policies the targets are the discounted returns.

    Args:
        rewards: (T, ...) floats.
        values: (T, ...) values of the states before the steps.
        next_values: (T, ...) values of the successors.
        terminated: (T, ...) bools, true where nothing follows.
        ended: (T, ...) bools, true where the episode ended, terminated or truncated.
        log_ratios: (T, ...) log-probability of the action under the learnt policy, minus that under the acting one.
        discount: from 0 to 1.
        largest_step: rho of the paper, bound of the ratios that weigh the differences; sets which values are learnt.
        largest_trace: c of the paper, bound of the ratios that carry a difference back; sets the speed alone.

    Returns:
        Targets of the values and advantages of the actions, both (T, ...).

    Raises:
        ArgumentError: discount lies outside 0 to 1, or a bound is not above 0.

    Example:
        >>> no, ones = [False, False], [1.0, 1.0]
        >>> v_trace(ones, ones, ones, no, no, [0.0, 0.0], discount=0.5)[0].numpy().tolist()
        [1.75, 1.5]
    """
    rewards, next_values, follows, continues = _parts(rewards, next_values, terminated, ended, discount)
    for name, bound in (("largest_step", largest_step), ("largest_trace", largest_trace)):
        if not bound > 0:
            checks.refuse(f"{name} must be above 0", bound)
    values = ops.convert_to_tensor(values, rewards.dtype)
    ratios = ops.exp(ops.convert_to_tensor(log_ratios, rewards.dtype))
    steps, traces = ops.minimum(ratios, largest_step), ops.minimum(ratios, largest_trace)
    differences = steps * (rewards + discount * follows * next_values - values)
    corrections = _backward_sums(differences, discount * continues * traces)
    later = ops.concatenate([(values + corrections)[1:], next_values[-1:]], axis=0)
    successors = continues * later + (1 - continues) * next_values
    return values + corrections, steps * (rewards + discount * follows * successors - values)


def _parts(rewards: Any, next_values: Any, terminated: Any, ended: Any, discount: float) -> tuple[Any, Any, Any, Any]:
    """Returns rewards and next values as floats, 1 where a state follows, and 1 where the episode goes on in the next
    step of the rollout."""
    checks.within("discount", discount, 0.0, 1.0)
    rewards = ops.convert_to_tensor(rewards, "float32")
    follows = 1 - ops.cast(ops.convert_to_tensor(terminated, "bool"), "float32")
    goes_on = 1 - ops.cast(ops.convert_to_tensor(ended, "bool"), "float32")
    continues = ops.concatenate([goes_on[:-1], ops.zeros_like(goes_on[-1:])], axis=0) * follows
    return rewards, ops.convert_to_tensor(next_values, "float32"), follows, continues


def _backward_sums(terms: Any, weights: Any) -> Any:
    """Returns y of y[t] = terms[t] + weights[t] * y[t + 1], in log2(T) steps of whole tensors, each twice as far."""
    ahead = 1
    while ahead < terms.shape[0]:
        missing = ops.zeros_like(terms[:ahead])
        terms = terms + weights * ops.concatenate([terms[ahead:], missing], axis=0)
        weights = weights * ops.concatenate([weights[ahead:], missing], axis=0)
        ahead *= 2
    return terms

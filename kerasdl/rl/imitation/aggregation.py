"""DAgger: an expert names the right action wherever the learner goes, and the learner is trained on all of it.

Source: Ross, Gordon and Bagnell 2011, https://arxiv.org/abs/1011.0686, algorithm 3.1. Deviations: the learner
is trained on from its last weights in every round, rather than anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed

from ..control.players import PolicyPlayer
from ..envs.environment import Environment
from .cloning import Cloner, CloningConfig, Demonstrations, environment_for, walk


@dataclass(frozen=True, repr=False, eq=False)
class Imitation(Displayed):
    """Result of `dagger`.

    Attributes:
        player: the last policy in its environment.
        demonstrations: all observations, with the actions of the expert.
        returns: mean return of the policy after each round.
        agreement: share of the observations of each round at which the policy of the round before acted as the expert;
            of real-number actions the mean absolute difference. NaN of the first round, in which the expert acts.

    Example:
        >>> quick, expert = CloningConfig(updates=10), lambda seen: (seen[:, 2] > 0).astype("int32")
        >>> found = dagger("cartpole", expert, quick, rounds=1, steps=64, episodes=2)
        >>> len(found.returns), len(found.demonstrations.actions)
        (1, 64)
    """

    player: PolicyPlayer
    demonstrations: Demonstrations
    returns: np.ndarray
    agreement: np.ndarray

    def _shown(self) -> tuple[str, dict[str, Any]]:
        rows = {
            "returns": ", ".join(f"{each:.4g}" for each in self.returns),
            "agreement": ", ".join(f"{each:.3g}" for each in self.agreement),
        }
        return f"Imitation: {len(self.returns)} rounds, {len(self.demonstrations.actions):,} labels", rows


def dagger(
    env: str | Environment,
    expert: Callable[..., Any],
    config: CloningConfig | None = None,
    *,
    rounds: int = 5,
    steps: int = 512,
    mixing: float = 0.5,
    environments: int = 8,
    episodes: int = 20,
    seed: int = 0,
) -> Imitation:
    """Trains a policy on an expert's actions at the observations that the policy itself meets.

    In round i, counted from 0, the expert acts in a share `mixing**i` of the steps, and labels all of them.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` or `Box` actions.
        expert: function from observations (B, ...) to actions, such as `agent.act`; where the environment forbids
            actions it gets those allowed too, as `mask`.
        config: settings of the training in each round; None takes the defaults.
        rounds: number of rounds.
        steps: labels of a round.
        mixing: base of the share of the expert, from 0 to 1; 0 lets it act in the first round alone.
        environments: episodes that run at once.
        episodes: episodes of the evaluation after each round.
        seed: seed of weights, minibatches and episodes.

    Returns:
        The policy, all demonstrations, and figures of each round.

    Raises:
        ArgumentError: an argument breaks its rule, or the expert acts outside the space of actions.
        UnknownNameError: no environment has the name.

    Example:
        >>> expert = lambda seen: (seen[:, 2] + seen[:, 3] > 0).astype("int32")
        >>> quick = CloningConfig(updates=10)
        >>> dagger("cartpole", expert, quick, rounds=1, steps=64, episodes=2).player.act(np.zeros(4)).shape
        ()
    """
    env = environment_for(env)
    checks.at_least("rounds", rounds, 1)
    checks.within("mixing", mixing, 0.0, 1.0)
    learner, parts, returns, agreement = Cloner(env, config or CloningConfig(), seed), [], [], []
    player = learner.player
    for turn in range(rounds):
        acting = player.act if turn else None
        found = walk(env, expert, acting, steps, environments, seed + turn, mixing**turn)
        agreement.append(_agreement(player, found) if turn else np.nan)
        parts.append(found)
        shown = Demonstrations(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        learner.learn(shown, turn)
        returns.append(player.evaluate(episodes).mean)
    return Imitation(player, shown, np.array(returns), np.array(agreement))


def _agreement(player: PolicyPlayer, shown: Demonstrations) -> float:
    actions = player.act(shown.observations)
    if shown.actions.dtype.kind == "f":
        return float(np.abs(actions - shown.actions).mean())
    return float((actions == shown.actions).mean())

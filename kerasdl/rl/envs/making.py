"""Environments by name."""

import inspect
from typing import Any

from kerasdl.core import checks

from .classic.acrobot import Acrobot
from .classic.cartpole import CartPole
from .classic.mountain_car import ContinuousMountainCar, MountainCar
from .classic.pendulum import Pendulum
from .environment import Environment
from .games.bandits import BernoulliBandit, GaussianBandit
from .games.bit_flipping import BitFlipping
from .games.catch import Catch
from .games.spread import Spread
from .tabular.grids import CliffWalking, FrozenLake, GridWorld, Maze
from .tabular.taxi import Taxi

ENVIRONMENTS: dict[str, type[Environment]] = {
    **{"acrobot": Acrobot, "cartpole": CartPole, "pendulum": Pendulum},
    **{"mountain_car": MountainCar, "mountain_car_continuous": ContinuousMountainCar},
    **{"cliff_walking": CliffWalking, "frozen_lake": FrozenLake, "gridworld": GridWorld, "maze": Maze, "taxi": Taxi},
    **{"bernoulli_bandit": BernoulliBandit, "gaussian_bandit": GaussianBandit, "catch": Catch, "spread": Spread},
    "bit_flipping": BitFlipping,
}


def make(name: str, **settings: Any) -> Environment:
    """Returns an environment by its name.

    Args:
        name: one of `list_environments()`.
        **settings: arguments of its class, such as `slippery=False` of `frozen_lake`.

    Returns:
        The environment, whose functions take batches of states.

    Raises:
        UnknownNameError: no environment has that name.
        ArgumentError: its class has no such setting, or refuses its value.

    Example:
        >>> make("cartpole").action_space
        Discrete(n=2)
    """
    checks.known_name("environment", name, ENVIRONMENTS, "kerasdl.rl.GymnasiumEnvironments runs those of Gymnasium.")
    kind = ENVIRONMENTS[name]
    parameters = inspect.signature(kind).parameters
    for setting in settings:
        checks.one_of(f"a setting of {name}", setting, tuple(parameters))
    return kind(**settings)


def list_environments() -> list[str]:
    """Returns the names of all environments that `make` knows, sorted.

    Example:
        >>> "cartpole" in list_environments()
        True
    """
    return sorted(ENVIRONMENTS)

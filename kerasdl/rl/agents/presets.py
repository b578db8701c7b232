"""Presets: settings of an agent in an environment, with the steps that they take and the return asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kerasdl.core import checks


@dataclass(frozen=True)
class Preset:
    """Settings of an agent in an environment.

    Attributes:
        config: settings that differ from the defaults of the agent.
        steps: environment steps of a training.
        bar: mean return over 100 episodes that the last policy is asked for.

    Example:
        >>> preset("PPO", "cartpole").bar
        475.0
    """

    config: Mapping[str, Any]
    steps: int
    bar: float


REPLAYED = {
    **{"rollout_steps": 8, "updates": 8, "iterations_per_call": 25, "capacity": 20_000, "learning_starts": 400},
    **{"hidden": (64, 64), "batch_size": 128, "discount": 0.98},
}
"""Settings of Pendulum that DDPG, TD3 and SAC share: an update a step, as in rl-baselines3-zoo, by smaller networks."""

PRESETS: Mapping[tuple[str, str], Preset] = MappingProxyType(
    {
        ("PPO", "cartpole"): Preset(
            {
                **{"environments": 8, "rollout_steps": 32, "minibatch_size": 256, "epochs": 20, "anneal": True},
                **{"learning_rate": 1e-3, "discount": 0.98, "decay": 0.8},
            },
            100_000,
            475.0,
        ),
        ("PPO", "acrobot"): Preset(
            {
                **{"environments": 16, "rollout_steps": 256, "minibatch_size": 256, "epochs": 4},
                **{"learning_rate": 1e-3, "decay": 0.94, "normalize_observations": True},
            },
            500_000,
            -90.0,
        ),
        ("PPO", "pendulum"): Preset(
            {
                **{"environments": 4, "rollout_steps": 1024, "minibatch_size": 64, "epochs": 10},
                **{"learning_rate": 1e-3, "discount": 0.9, "decay": 0.95},
            },
            200_000,
            -200.0,
        ),
        ("A2C", "cartpole"): Preset({}, 500_000, 475.0),
        ("REINFORCE", "cartpole"): Preset({"environments": 8, "rollout_steps": 250}, 300_000, 475.0),
        ("DQN", "cartpole"): Preset(
            {
                **{"rollout_steps": 256, "updates": 128, "batch_size": 64, "target_every": 128, "hidden": (256, 256)},
                **{"learning_rate": 2.3e-3, "exploration_share": 0.16, "final_amount": 0.04},
                **{"double": True, "anneal": True},
            },
            50_000,
            475.0,
        ),
        **{(agent, "pendulum"): Preset(REPLAYED, 20_000, -200.0) for agent in ("DDPG", "TD3", "SAC")},
        ("DQN", "catch"): Preset(
            {
                **{"environments": 4, "rollout_steps": 8, "updates": 8, "batch_size": 64, "learning_starts": 500},
                **{"learning_rate": 1e-3, "target_every": 100, "double": True},
            },
            20_000,
            0.95,
        ),
        ("Dyna", "maze"): Preset(
            {
                **{"planning_steps": 50, "rollout_steps": 128, "discount": 0.95},
                **{"amount": 0.1, "final_amount": 0.1},
            },
            50_000,
            0.95,
        ),
        ("MAPPO", "spread"): Preset(
            {
                **{"environments": 16, "rollout_steps": 64, "minibatch_size": 512, "epochs": 6},
                **{"learning_rate": 1e-3, "entropy_weight": 0.01, "discount": 0.95, "hidden": (128, 128)},
                **{"anneal": True},
            },
            400_000,
            -1.5,
        ),
        ("PETS", "pendulum"): Preset(
            {
                **{"hidden": (32, 32), "members": 4, "horizon": 15, "rounds": 3, "candidates": 64, "elites": 8},
                **{"rollout_steps": 100, "updates": 300},
            },
            1500,
            -200.0,
        ),
        ("VDN", "spread"): Preset(
            {
                **{"environments": 8, "rollout_steps": 8, "updates": 4, "batch_size": 128, "hidden": (128, 128)},
                **{"discount": 0.95, "double": True, "exploration_share": 0.3, "target_every": 200},
            },
            200_000,
            -1.5,
        ),
        ("WorldModel", "catch"): Preset({}, 5_000, 0.95),
        ("TRPO", "cartpole"): Preset({"decay": 0.98}, 100_000, 475.0),
    }
)
"""Presets by names of agent and environment. PPO and DQN follow the tuned settings of rl-baselines3-zoo.

Which bars are met docs/reinforcing.md says; most have not been measured."""


def preset(agent: str, environment: str) -> Preset:
    """Returns the preset of an agent in an environment.

    Args:
        agent: name of the class, such as `PPO`.
        environment: name for `make`.

    Returns:
        The preset.

    Raises:
        UnknownNameError: there is none.

    Example:
        >>> PPOConfig(**preset("PPO", "cartpole").config).minibatch_size
        256
    """
    names = [f"{agent} on {environment}" for agent, environment in PRESETS]
    checks.known_name("preset", f"{agent} on {environment}", names, "Make a config of your own.")
    return PRESETS[agent, environment]


def preset_config(agent: Any) -> Any:
    """Returns the settings of an agent by its preset, or its defaults where there is none."""
    found = PRESETS.get((agent.name, agent.env.name))
    count = {"environments": agent.env.count} if agent.on_host else {}
    return agent.config_class(**{**(found.config if found else {}), **count})

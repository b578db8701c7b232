"""Builder of the embedded bundle `cartpole_ppo` from a fixed seed, about half a minute on two cores.

A policy of 4,610 weights that balances the pole of CartPole, trained by PPO with the settings of its preset.
"""

from pathlib import Path

from bundle_making import embed

from kerasdl import rl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED

NAME, ENVIRONMENT, SEED, EPISODES = "cartpole_ppo", "cartpole", 0, 100


def make() -> Bundle:
    """Trains the policy and measures it over episodes of their own."""
    agent = rl.PPO(ENVIRONMENT, seed=SEED)
    record = agent.train(rl.preset("PPO", ENVIRONMENT).steps)
    bundle = Bundle.of(
        agent.policy,
        name=NAME,
        task="discrete_control",
        preprocess=rl.control_settings(ENVIRONMENT),
        labels=("left", "right"),
        provenance={
            **{"made by": f"tools/{Path(__file__).name}", "data": f"{ENVIRONMENT}, {record.steps[-1]} steps of PPO"},
            **{"data licence": "Apache-2.0", "seed": SEED},
        },
        licence="Apache-2.0",
    )
    found = rl.PolicyPlayer(bundle.model, ENVIRONMENT).evaluate(EPISODES)
    return bundle.with_metrics(f"{ENVIRONMENT}, {EPISODES} episodes", {"return": found.mean})


def main(folder: Path = EMBEDDED) -> None:
    """Writes the bundle."""
    embed(make(), folder)


if __name__ == "__main__":
    main()

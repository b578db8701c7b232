"""CartPole by PPO, from training to a file that balances: `python docs/recipes/cartpole.py [FOLDER]`.

About 15 seconds on two cores: 5 to compile, 4 for 100,000 steps. The return of an episode rises from about 20 to 500,
the highest that there is. The policy is exported to TFLite, and a loop of NumPy and LiteRT alone balances with it.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import kerasdl
from kerasdl import rl


def balance(path: str | Path, seed: int = 0) -> int:
    """Returns the steps for which the policy of a TFLite file keeps the pole upright."""
    policy = Interpreter(str(path)).get_signature_runner("serve")
    (name,) = policy.get_input_details()
    env = rl.make("cartpole")
    state = env.start(tf.random.stateless_uniform((1, env.noise_size), (seed, 0)))
    for step in range(env.time_limit):
        (logits,) = policy(**{name: env.observe(state).numpy()}).values()
        action = np.argmax(logits, axis=-1).astype("int32")
        state, _, terminated = env.step(state, action, None)
        if terminated[0]:
            return step + 1
    return env.time_limit


def main(folder: str = "cartpole_ppo", steps: int = 100_000) -> dict[str, float]:
    """Trains, exports and balances; returns the mean return and the steps of the exported policy."""
    agent = rl.PPO("cartpole", seed=0)
    record = agent.train(steps)
    print(record)
    found = agent.evaluate(episodes=100)
    print(found)
    agent.save(folder)
    record.plot(Path(folder) / "returns.png")
    path = Path(folder) / "policy.tflite"
    print(kerasdl.deploy.export_tflite(agent.policy, path))
    balanced = balance(path)
    print(f"the exported policy balances for {balanced} steps")
    return {"return": found.mean, "steps of the file": balanced}


if __name__ == "__main__":
    main(*sys.argv[1:])

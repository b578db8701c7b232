"""A training that is killed: `python killed_agent.py FOLDER [CALL]` ends by SIGKILL after a call; without it, it ends.

The weights at its end are written to FOLDER/weights.npz.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from kerasdl import rl
from kerasdl.train import RunCallback


class Killer(RunCallback):
    """SIGKILL after a number of calls."""

    def __init__(self, calls):
        self.left = calls

    def end_step(self, batch):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def main(folder, calls=0):
    """Trains A2C on Pendulum with normalized observations, and writes every variable."""
    config = rl.A2CConfig(environments=4, iterations_per_call=4, normalize_observations=True, anneal=True)
    agent = rl.A2C("pendulum", config, seed=1)
    agent.train(4000, [Killer(int(calls))], log_every=800, folder=Path(folder) / "run", progress="off")
    np.savez(Path(folder) / "weights.npz", **{n: v.numpy() for n, v in {**agent.weights(), **agent.extras()}.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])

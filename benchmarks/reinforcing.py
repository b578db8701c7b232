"""Bars of agents: mean return of the last policy over 100 episodes, by agent, environment and seed.

    python benchmarks/reinforcing.py                       # all of them; stopped and started again, it goes on
    python benchmarks/reinforcing.py ppo_cartpole --seeds 5
    python benchmarks/reinforcing.py --table               # what was measured so far

Settings are those of `kerasdl.rl.preset`. Each run is a line of JSON in `reinforcing.jsonl` of the working folder. An
agent reaches its bar where 4 of 5 seeds do.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines

RESULTS, KEYS = Path("reinforcing.jsonl"), ("bar", "seed")
AGENTS = {
    "ppo_cartpole": ("PPO", "cartpole"),
    "trpo_cartpole": ("TRPO", "cartpole"),
    "a2c_cartpole": ("A2C", "cartpole"),
    "reinforce_cartpole": ("REINFORCE", "cartpole"),
    "dqn_cartpole": ("DQN", "cartpole"),
    "ppo_acrobot": ("PPO", "acrobot"),
    "ppo_pendulum": ("PPO", "pendulum"),
    "sac_pendulum": ("SAC", "pendulum"),
    "td3_pendulum": ("TD3", "pendulum"),
    "ddpg_pendulum": ("DDPG", "pendulum"),
}


def train(agent: str, environment: str, seed: int) -> dict:
    """Trains one agent by its preset; returns its figures."""
    from kerasdl import rl

    preset = rl.preset(agent, environment)
    learner = getattr(rl, agent)(environment, seed=seed)
    started, cpu = time.perf_counter(), time.process_time()
    record = learner.train(preset.steps, progress="off")
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    found = learner.evaluate(100)
    return {
        **{"agent": agent, "environment": environment, "steps": record.steps[-1], "goal": preset.bar},
        **{"return": found.mean, "deviation": found.deviation, "reached": found.mean >= preset.bar},
        **{"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)},
        **{"steps_per_second": round(record.steps_per_second)},
    }


def main() -> None:
    """Runs the bars that were asked for, and prints the table."""
    asked = kept_lines.asked(__doc__, AGENTS, kind="bar", seeds=5)
    if not asked.table:
        jobs = {
            (name, seed): partial(train, *AGENTS[name], seed) for name in asked.names for seed in range(asked.seeds)
        }
        kept_lines.measure(RESULTS, KEYS, jobs)
    columns = {"return": ".1f", "goal": ".0f", "reached": ".2f", "steps": ",.0f", "seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], {**columns, "cpu_seconds": ".0f", "steps_per_second": ",.0f"})


if __name__ == "__main__":
    main()

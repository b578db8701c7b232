"""Bars of agents: mean return of the last policy, or steps until a policy has it, by agent, environment and seed.

    python benchmarks/reinforcing.py                       # all of them; stopped and started again, it goes on
    python benchmarks/reinforcing.py ppo_cartpole --seeds 5
    python benchmarks/reinforcing.py --table               # what was measured so far

Settings are those of `kerasdl.rl.preset`. Returns are means over 100 episodes. Each run is
a line of JSON in `reinforcing.jsonl` of the working folder. An agent reaches its bar where 4 of 5 seeds do. A race ends
with the first evaluation that has the return of the bar; it compares a method that learns a model with its twin that
learns none.
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
    "mappo_spread": ("MAPPO", "spread"),
    "independent_ppo_spread": ("MAPPO", "spread", {"central_value": False}),
    "vdn_spread": ("VDN", "spread"),
    "independent_q_spread": ("VDN", "spread", {"joint": False}),
}
RACES = {  # agent, environment, changes of its preset; steps at most, steps between evaluations, their episodes
    "dyna_maze": ("Dyna", "maze", {}, 100_000, 128, 1),
    "q_learning_maze": ("Dyna", "maze", {"planning_steps": 0}, 100_000, 128, 1),
    "pets_pendulum": ("PETS", "pendulum", {}, 3_000, 500, 10),
    "ppo_pendulum_race": ("PPO", "pendulum", {}, 300_000, 4_096, 20),
    "world_model_catch": ("WorldModel", "catch", {}, 20_000, 320, 100),
    "dqn_catch": ("DQN", "catch", {}, 100_000, 320, 100),
}


def config_of(agent: str, environment: str, changes: dict):
    """Returns the settings of the preset with changes."""
    from kerasdl import rl

    return getattr(rl, f"{agent}Config")(**{**rl.preset(agent, environment).config, **changes})


def train(agent: str, environment: str, changes: dict, seed: int) -> dict:
    """Trains one agent by its preset; returns its figures."""
    from kerasdl import rl

    preset = rl.preset(agent, environment)
    learner = getattr(rl, agent)(environment, config_of(agent, environment, changes), seed=seed)
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


def race(agent: str, environment: str, changes: dict, most: int, every: int, episodes: int, seed: int) -> dict:
    """Trains one agent until an evaluation has the return of its bar; returns its figures."""
    from kerasdl import rl

    goal = rl.preset(agent, environment).bar
    learner = getattr(rl, agent)(environment, config_of(agent, environment, changes), seed=seed)
    callbacks = [rl.EvaluateOften(episodes), rl.StopOnReward(goal, "evaluation_return")]
    started, cpu = time.perf_counter(), time.process_time()
    record = learner.train(most, callbacks, log_every=every, progress="off")
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return {
        **{"agent": agent, "environment": environment, "steps": record.steps[-1], "goal": goal},
        **{"return": record.figures["evaluation_return"][-1], "reached": record.stopped == "early"},
        **{"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)},
        **{"steps_per_second": round(record.steps_per_second)},
    }


def main() -> None:
    """Runs the bars that were asked for, and prints the table."""
    asked = kept_lines.asked(__doc__, AGENTS | RACES, kind="bar", seeds=5)
    if not asked.table:
        runs = {name: partial(race, *settings) for name, settings in RACES.items()}
        runs |= {name: partial(train, *settings[:2], dict(*settings[2:])) for name, settings in AGENTS.items()}
        jobs = {(name, seed): partial(runs[name], seed) for name in asked.names for seed in range(asked.seeds)}
        kept_lines.measure(RESULTS, KEYS, jobs)
    columns = {"return": ".1f", "goal": ".0f", "reached": ".2f", "steps": ",.0f", "seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], {**columns, "cpu_seconds": ".0f", "steps_per_second": ",.0f"})


if __name__ == "__main__":
    main()

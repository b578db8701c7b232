"""Environment steps a second of PPO and DQN on CartPole: kerasdl and stable-baselines3, same settings, in turns.

    PEERS_PYTHON=~/peers/bin/python python benchmarks/rl_speed.py    # a Python with torch and stable-baselines3
    python benchmarks/rl_speed.py dqn --rounds 3                     # one method
    python benchmarks/rl_speed.py --table                            # what was measured so far

Settings are those of the presets, which follow rl-baselines3-zoo. PPO: 8 environments, rollouts of 32 steps, 20 epochs
of one batch of 256, two networks of 64 and 64. DQN: 128 updates of batches of 64 after every 256 steps, one network of
256 and 256, without double. Each library trains in a process of its own; after a first turn, which compiles and is not
counted, they train in turns, so that other work on the machine spoils both. Stated are medians of steps in a wall
second and in a processor second, and of the ratios of each turn. Each measurement is a line of JSON in `rl_speed.jsonl`
of the working folder.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

STEPS = {"ppo": 4096, "dqn": 2048}
RESULTS = Path("rl_speed.jsonl")


def kerasdl_turns(method):
    """Returns a function that trains for a number of steps with kerasdl."""
    from kerasdl import rl

    if method == "ppo":
        agent = rl.PPO("cartpole", seed=0)
    else:
        agent = rl.DQN("cartpole", rl.DQNConfig(**{**rl.preset("DQN", "cartpole").config, "double": False}), seed=0)
    return lambda steps: agent.train(steps, progress="off")


def sb3_turns(method):
    """Returns a function that trains for a number of steps with stable-baselines3."""
    import torch
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    common = {"device": "cpu", "seed": 0}
    if method == "ppo":
        settings = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3}
        settings |= {"gamma": 0.98, "gae_lambda": 0.8, "clip_range": 0.2}
        model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 8), **settings, **common)
    else:
        settings = {"train_freq": 256, "gradient_steps": 128, "batch_size": 64, "learning_rate": 2.3e-3}
        settings |= {"buffer_size": 100_000, "learning_starts": 1000, "target_update_interval": 256}
        settings |= {"exploration_fraction": 0.16, "exploration_final_eps": 0.04, "gamma": 0.99}
        model = DQN(
            "MlpPolicy", make_vec_env("CartPole-v1", 1), policy_kwargs={"net_arch": [256, 256]}, **settings, **common
        )
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def work(library: str, method: str) -> None:
    """Answers each line of the input, a number of steps, with the seconds that they took."""
    train = {"kerasdl": kerasdl_turns, "sb3": sb3_turns}[library](method)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        train(int(line))
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


def measured(method: str, rounds: int) -> dict:
    """Returns the medians of all turns."""
    workers, steps = {}, STEPS[method]
    for library in ("kerasdl", "sb3"):
        python = os.environ.get("PEERS_PYTHON", sys.executable) if library == "sb3" else sys.executable
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        workers[library] = subprocess.Popen([python, __file__, "--worker", library, method], **pipes)
    turns = {library: [] for library in workers}
    for _ in range(rounds + 1):
        for library, worker in workers.items():
            worker.stdin.write(f"{steps}\n")
            answer = worker.stdout.readline()
            if not answer:
                sys.exit(f"{library} did not train. Set PEERS_PYTHON to a Python with torch and stable-baselines3.")
            turns[library].append(json.loads(answer))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    result = {"method": method, "load": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
    for kind in ("wall", "cpu"):
        seconds = {library: [turn[kind] for turn in each[1:]] for library, each in turns.items()}
        for library, each in seconds.items():
            result[f"{library}_{kind}"] = round(steps / statistics.median(each))
        ratios = [peer / own for own, peer in zip(*seconds.values(), strict=True)]
        result[f"ratio_{kind}"] = round(statistics.median(ratios), 1)
    return result


def main() -> None:
    """Measures once unless `--table` is given, and prints all lines."""
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", choices=[*STEPS, []], default=[], help="all without a name")
    parser.add_argument("--rounds", type=int, default=5, help="turns that count")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    for method in [] if asked.table else asked.methods or STEPS:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(measured(method, asked.rounds)) + "\n")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

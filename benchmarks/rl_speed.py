"""Environment steps a second of PPO on CartPole: kerasdl and stable-baselines3 with the same settings, in turns.

    PEERS_PYTHON=~/peers/bin/python python benchmarks/rl_speed.py    # a Python with torch and stable-baselines3
    python benchmarks/rl_speed.py --table                            # what was measured so far

Settings are those of the preset, which follow rl-baselines3-zoo: 8 environments, rollouts of 32 steps, 20 epochs of one
batch of 256, two networks of 64 and 64. Each library trains in a process of its own; after a first turn, which compiles
and is not counted, they train in turns, so that other work on the machine spoils both. Stated are medians of steps in a
wall second and in a processor second, and of the ratios of each turn. Each measurement is a line of JSON in
`rl_speed.jsonl` of the working folder.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

STEPS, ROUNDS = 4096, 5
RESULTS = Path("rl_speed.jsonl")


def kerasdl_turns():
    """Returns a function that trains for a number of steps with kerasdl."""
    from kerasdl import rl

    agent = rl.PPO("cartpole", seed=0)
    return lambda steps: agent.train(steps, progress="off")


def sb3_turns():
    """Returns a function that trains for a number of steps with stable-baselines3."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    settings = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "learning_rate": 1e-3}
    settings |= {"gamma": 0.98, "gae_lambda": 0.8, "clip_range": 0.2, "device": "cpu", "seed": 0}
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", 8), **settings)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def work(library: str) -> None:
    """Answers each line of the input, a number of steps, with the seconds that they took."""
    train = {"kerasdl": kerasdl_turns, "sb3": sb3_turns}[library]()
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        train(int(line))
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


def measured() -> dict:
    """Returns the medians of all turns."""
    workers = {}
    for library in ("kerasdl", "sb3"):
        python = os.environ.get("PEERS_PYTHON", sys.executable) if library == "sb3" else sys.executable
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        workers[library] = subprocess.Popen([python, __file__, "--worker", library], **pipes)
    turns = {library: [] for library in workers}
    for _ in range(ROUNDS + 1):
        for library, worker in workers.items():
            worker.stdin.write(f"{STEPS}\n")
            answer = worker.stdout.readline()
            if not answer:
                sys.exit(f"{library} did not train. Set PEERS_PYTHON to a Python with torch and stable-baselines3.")
            turns[library].append(json.loads(answer))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    result = {"load": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
    for kind in ("wall", "cpu"):
        seconds = {library: [turn[kind] for turn in each[1:]] for library, each in turns.items()}
        for library, each in seconds.items():
            result[f"{library}_{kind}"] = round(STEPS / statistics.median(each))
        ratios = [peer / own for own, peer in zip(*seconds.values(), strict=True)]
        result[f"ratio_{kind}"] = round(statistics.median(ratios), 1)
    return result


def main() -> None:
    """Measures once unless `--table` is given, and prints all lines."""
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
        return
    if "--table" not in sys.argv:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(measured()) + "\n")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""Bars of diffusion on 8 Gaussians: modes, samples within 3 sigma and log-likelihood, by process and seed.

    python benchmarks/diffusion.py                  # all of them; stopped and started again, it goes on
    python benchmarks/diffusion.py flow --seeds 1
    python benchmarks/diffusion.py --table          # what was measured so far

The centres stand on a ring of radius 2, each with sigma 0.1. A bar is reached with 8 of 8 modes (each with half of its
share of the samples or more) and 0.95 of the samples within 3 sigma of a centre. The trivial baseline, one normal
distribution of the data's moments, must fail. The gap of the log-likelihood to the truth, on new points, is to be at
most 0.05 nats. Each run is a line of JSON in `diffusion.jsonl` of the working folder.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import numpy as np

RESULTS, KEYS = Path("diffusion.jsonl"), ("bar", "seed")
RADIUS, SIGMA, MODES, COUNT = 2.0, 0.1, 8, 50_000
STEPS, BATCH = 4_000, 512
VE_HIGHEST = 30.0
# process: schedule, target, sampler, steps of it
PROCESSES = {
    "ddpm": ("cosine", "eps", "ancestral", 1000),
    "ve": ("ve", "edm", "heun", 32),
    "vp": ("vp", "eps", "dpm_solver", 50),
    "flow": ("flow", "flow", "euler", 100),
}


def ring(count: int, seed: int) -> np.ndarray:
    """Returns points of 8 Gaussians, (count, 2)."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * rng.integers(0, MODES, count) / MODES
    centres = RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)
    return (centres + rng.normal(0, SIGMA, (count, 2))).astype("float32")


def centres() -> np.ndarray:
    """Returns the centres, (8, 2)."""
    angles = 2 * np.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)


def true_log_density(points: np.ndarray) -> np.ndarray:
    """Returns the log density of the mixture at points (B, 2)."""
    squares = np.square(points[:, None] - centres()[None]).sum(-1) / SIGMA**2
    return np.logaddexp.reduce(-0.5 * squares, axis=1) - np.log(MODES * 2 * np.pi * SIGMA**2)


def judged(samples: np.ndarray) -> dict:
    """Returns modes, share within 3 sigma, and whether the bar is reached."""
    distances = np.linalg.norm(samples[:, None] - centres()[None], axis=-1)
    near = distances.min(1) < 3 * SIGMA
    shares = np.bincount(distances.argmin(1)[near], minlength=MODES) / len(samples)
    modes, within = int((shares > 0.5 / MODES).sum()), float(near.mean())
    return {"modes": modes, "within": round(within, 4), "reached": modes == MODES and within >= 0.95}


def normal_baseline(seed: int) -> dict:
    """Returns the figures of one normal distribution with the moments of the data, which must fail."""
    data = ring(COUNT, 1)
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(data.mean(0), np.cov(data.T), 10_000)
    return judged(drawn)


def train(process: str, seed: int) -> dict:
    """Trains one process; returns its figures."""
    import kerasdl
    from kerasdl import generative
    from kerasdl.train import RunConfig, fit

    schedule, target, sampler, steps = PROCESSES[process]
    if process == "ve":
        schedule = generative.VESchedule(low=0.01, high=VE_HIGHEST, center=-1.2)  # levels as in EDM
    network = kerasdl.build("diffusion_mlp", width=128, depth=3)
    trainer = generative.Diffusion(network, schedule, target, deviation=1.42, seed=seed)
    config = RunConfig(
        steps=STEPS, batch_size=BATCH, learning_rate=2e-3, schedule="cosine", ema=0.995, seed=seed, progress="off"
    )
    started, cpu = time.perf_counter(), time.process_time()
    fit(trainer, ring(COUNT, 1000 + seed), config=config)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    found = judged(trainer.sample(10_000, steps=steps, sampler=sampler, seed=seed))
    gap = None
    if process != "ddpm":
        new = ring(1_000, 2000 + seed)
        highest = VE_HIGHEST if process == "ve" else 50.0
        likelihood = generative.flow_log_likelihood(trainer.denoiser, new, steps=200, lowest=0.01, highest=highest)
        gap = round(float(np.mean(true_log_density(new) - likelihood)), 4)
    return {**found, "gap": gap, "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)}


def main() -> None:
    """Runs the bars that were asked for, and prints the table."""
    asked = kept_lines.asked(__doc__, [*PROCESSES, "normal"], kind="bar", seeds=3)
    if not asked.table:
        jobs = {
            (name, seed): partial(normal_baseline, seed) if name == "normal" else partial(train, name, seed)
            for name in asked.names
            for seed in range(asked.seeds)
        }
        kept_lines.measure(RESULTS, KEYS, jobs)
    kept_lines.means(
        RESULTS, KEYS[:1], {"modes": ".1f", "within": ".3f", "reached": ".2f", "gap": ".3f", "cpu_seconds": ".0f"}
    )


if __name__ == "__main__":
    main()

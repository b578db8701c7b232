"""Bars of GANs on eight Gaussians: covered modes and the share of samples within 3 deviations, by method and seed.

    python benchmarks/adversarial.py                       # all of them; stopped and started again, it goes on
    python benchmarks/adversarial.py hinge --seeds 5
    python benchmarks/adversarial.py --table               # what was measured so far

Radius 2, deviation 0.1; of the data themselves 0.989 are within 3 deviations. All methods have the same networks and
make as many updates of the generator; `minimax` is plain, for comparison. Each run is a line of JSON in
`adversarial.jsonl` of the working folder.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines

RESULTS, KEYS = Path("adversarial.jsonl"), ("bar", "seed")
LATENT, WIDTH, SAMPLES = 16, 128, 10_000
TRICKS = {"r1": 0.02, "average": 0.999}
# For each bar: the class, its settings, learning rate and first decay of Adam, and the least share near a mode.
BARS = {
    "non_saturating": ("GAN", {"loss": "non_saturating", **TRICKS}, (1e-3, 0.0), 0.9),
    "hinge": ("GAN", {"loss": "hinge", **TRICKS}, (1e-3, 0.0), 0.9),
    "wgan_gp": ("WGANGP", {"gradient_penalty": 0.1, "average": 0.999}, (1e-3, 0.0), 0.8),
    "minimax": ("GAN", {"loss": "minimax"}, (1e-3, 0.9), None),
}


def perceptron(inputs: int, outputs: int, name: str):
    """Returns three hidden layers without norms."""
    import keras

    x = tensor = keras.Input((inputs,))
    for layer in range(1, 4):
        x = keras.layers.Dense(WIDTH, activation="relu", name=f"hidden{layer}")(x)
    return keras.Model(tensor, keras.layers.Dense(outputs, name="head")(x), name=name)


def train(bar: str, seed: int, steps: int = 4000) -> dict:
    """Trains one generator; returns its figures."""
    import keras

    from kerasdl import generative
    from kerasdl.train import RunConfig, fit

    kind, settings, (rate, decay), least = BARS[bar]
    keras.utils.set_random_seed(seed)
    nets = perceptron(LATENT, 2, "generator"), perceptron(2, 1, "discriminator")
    gan = getattr(generative, kind)(*nets, **settings, seed=seed)
    gan.compile({role: keras.optimizers.Adam(rate, decay, 0.99) for role in gan.networks})
    parts = gan.discriminator_steps  # batches of a step
    points = generative.eight_gaussians(256 * 100, seed)
    started, cpu = time.perf_counter(), time.process_time()
    fit(gan, points, config=RunConfig(steps=steps, batch_size=256 * parts, seed=seed, progress="off"))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    found = generative.mode_coverage(gan.sample(SAMPLES, seed=1), generative.gaussian_centres(), least=SAMPLES // 100)
    reached = None if least is None else found.covered == 8 and found.high_quality >= least
    return {
        **{"modes": found.covered, "high_quality": round(found.high_quality, 4), "goal": least, "reached": reached},
        **{"least_share": min(found.counts) / SAMPLES, "generator_steps": steps},
        **{"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)},
    }


def main() -> None:
    """Runs the bars that were asked for, and prints the table."""
    asked = kept_lines.asked(__doc__, BARS, kind="bar", seeds=3)
    if not asked.table:
        jobs = {(name, seed): partial(train, name, seed) for name in asked.names for seed in range(asked.seeds)}
        kept_lines.measure(RESULTS, KEYS, jobs)
    columns = {"modes": ".2f", "high_quality": ".3f", "goal": ".2f", "reached": ".2f", "least_share": ".4f"}
    kept_lines.means(RESULTS, KEYS[:1], {**columns, "generator_steps": ",.0f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()

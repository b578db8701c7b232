"""Nets over the frames of moving digits, beside the same CNN on a single frame: accuracy of the motion on test clips.

    python benchmarks/video.py                 # all nets, one seed; about 3 minutes
    python benchmarks/video.py --seeds 3
    python benchmarks/video.py --table         # the table of what was measured so far

Each net and seed is a line of JSON in `video.jsonl` of the working folder; what stands there is not trained again. All
train on the same 2,400 clips of six motions, and are measured on 600 others, whose digits are in no training clip. The
single-frame net is the trivial baseline that must fail: it sees the last frame alone, or the first, the better counts.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import keras

import kerasdl
from kerasdl.train import RunConfig, fit

RESULTS = Path("video.jsonl")
TRAIN, TEST = 2400, 600
SMALL = {"channels": (8, 16, 16), "units": 48}
NETS = {
    "single_frame": ("cnn_lstm", SMALL, 4),
    "cnn_lstm": ("cnn_lstm", SMALL, 10),
    "cnn_gru": ("cnn_gru", SMALL, 10),
    "conv_lstm": ("conv_lstm", {"channels": (6, 12)}, 6),
}


def trained(name: str, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    builder, settings, epochs = NETS[name]
    clips, labels = kerasdl.data.load("moving_digits", size=TRAIN).arrays()
    test, expected = kerasdl.data.load("moving_digits", "test", size=TEST).arrays()
    cuts = (slice(0, 1), slice(-1, None)) if name == "single_frame" else (slice(None),)
    cpu, accuracies = time.process_time(), []
    for frames in cuts:
        keras.utils.set_random_seed(seed)
        model = kerasdl.build(builder, clip_shape=clips[0, frames].shape, classes=6, **settings)
        config = RunConfig(epochs=epochs, learning_rate=3e-3, schedule="one_cycle", seed=seed, strategy=None)
        fit(model, (clips[:, frames], labels), task="video_classification", config=config)
        accuracies.append(float((model.predict(test[:, frames], verbose=0).argmax(-1) == expected).mean()))
    weights = model.count_params()
    return {"accuracy": max(accuracies), "weights": weights, "cpu_seconds": round(time.process_time() - cpu)}


def main() -> None:
    """Measures what is not in the results yet, and prints the means."""
    asked = kept_lines.asked(__doc__, NETS, kind="net", seeds=1)
    if not asked.table:
        jobs = [(name, seed) for seed in range(asked.seeds) for name in asked.names]
        kept_lines.measure(RESULTS, ("net", "seed"), {job: partial(trained, *job) for job in jobs})
    kept_lines.means(RESULTS, ("net",), {"accuracy": ".3f", "weights": ".0f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()

"""Nets over the frames of moving digits, beside the same CNN on a single frame: accuracy of the motion on test clips.

    python benchmarks/video.py                 # all nets, one seed; about 3 minutes
    python benchmarks/video.py --seeds 3
    python benchmarks/video.py --table         # the table of what was measured so far

Each net and seed is a line of JSON in `video.jsonl` of the working folder; what stands there is not trained again. All
train on the same 2,400 clips of six motions, and are measured on 600 others, whose digits are in no training clip. The
single-frame net is the trivial baseline that must fail: it sees the last frame alone, or the first, the better counts.
"""

import argparse
import json
import time
from pathlib import Path

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


def table() -> str:
    """Returns the table of all results."""
    lines = ["| net | seed | accuracy | weights | CPU seconds |", "|---|---|---|---|---|"]
    for row in map(json.loads, RESULTS.read_text().splitlines()):
        cells = (row["net"], row["seed"], f"{row['accuracy']:.3f}", row["weights"], row["cpu_seconds"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures what is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    known = {(row["net"], row["seed"]) for row in done}
    for name in arguments.nets:
        for seed in range(arguments.seeds):
            if (name, seed) not in known:
                row = json.dumps({"net": name, "seed": seed, **trained(name, seed)})
                with RESULTS.open("a") as file:
                    file.write(row + "\n")
                print(row)


if __name__ == "__main__":
    main()

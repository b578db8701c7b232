"""Time of raw heads for one image of 640 x 640 pixels: kerasdl, plain Keras and, for RetinaNet, torchvision, in turns.

    PEERS_PYTHON=~/peers/bin/python python benchmarks/detectors_speed.py     # a Python with torch and torchvision
    python benchmarks/detectors_speed.py yolo_v8_n
    python benchmarks/detectors_speed.py --table                             # what was measured so far

kerasdl is `Detector.heads` in the compiled function in which `detect` has it; plain Keras is `predict_on_batch` of the
network; torchvision runs eagerly, and has no YOLOv8. Each runs in a process of its own on all cores. Stated are medians
of wall and of processor seconds: other work on the machine spoils the former more. Each net is a line of JSON in
`detectors_speed.jsonl` of the working folder, and is not measured again.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

SIDE, CLASSES, ROUNDS, WARM = 640, 91, 9, 2
CORES = len(os.sched_getaffinity(0))
RESULTS, KEYS = Path("detectors_speed.jsonl"), ("net",)
KINDS = {"retinanet": ("kerasdl", "Keras", "torch"), "yolo_v8_n": ("kerasdl", "Keras")}


def of_kerasdl(net: str) -> Callable:
    """Returns the call that computes raw heads as `Detector.detect` does."""
    import tensorflow as tf

    import kerasdl
    from kerasdl.vision.detection import Detector

    detector = Detector(kerasdl.build(net, image_shape=(SIDE, SIDE, 3), classes=CLASSES))
    step, images = tf.function(detector.heads), tf.random.stateless_normal((1, SIDE, SIDE, 3), (0, 0))
    return lambda: {name: head.numpy() for name, head in step(images).items()}


def of_keras(net: str) -> Callable:
    """Returns the call that computes raw heads as Keras does."""
    import numpy as np

    import kerasdl

    network = kerasdl.build(net, image_shape=(SIDE, SIDE, 3), classes=CLASSES)
    images = np.random.default_rng(0).normal(size=(1, SIDE, SIDE, 3)).astype("float32")
    return lambda: network.predict_on_batch(images)


def of_torch(net: str) -> Callable:
    """Returns the call that computes torchvision's raw heads."""
    import torch
    from torchvision.models.detection import retinanet_resnet50_fpn

    torch.set_num_threads(CORES)
    network = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    images = torch.randn(1, 3, SIDE, SIDE)

    def run():
        with torch.inference_mode():
            return network.head(list(network.backbone(images).values()))

    return run


BUILDERS = {"kerasdl": of_kerasdl, "Keras": of_keras, "torch": of_torch}


def answer(kind: str, net: str) -> None:
    """Runs a net once for each line of the input, and prints wall and processor seconds."""
    run = BUILDERS[kind](net)
    for _ in range(WARM):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        run()
        print(time.perf_counter() - wall, time.process_time() - processor, flush=True)


def started(kind: str, net: str) -> subprocess.Popen:
    """Starts the process of a library and waits until it is warm."""
    python = os.environ.get("PEERS_PYTHON", sys.executable) if kind == "torch" else sys.executable
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process = subprocess.Popen([python, __file__, "--worker", kind, net], **pipes)
    if process.stdout.readline().strip() != "ready":
        sys.exit(f"{python} must run {net} of {kind}. Set PEERS_PYTHON to a Python with torch and torchvision.")
    return process


def asked_once(process: subprocess.Popen) -> list[float]:
    """Returns wall and processor seconds of one image."""
    process.stdin.write("\n")
    process.stdin.flush()
    return [float(each) for each in process.stdout.readline().split()]


def measured(net: str) -> dict:
    """Returns the median wall and processor seconds of each kind, their ratios to ours, and the load of the machine."""
    workers = {kind: started(kind, net) for kind in KINDS[net]}
    times = {kind: [] for kind in workers}
    for _ in range(ROUNDS):
        for kind, process in workers.items():
            times[kind].append(asked_once(process))
    for process in workers.values():
        process.stdin.close()
        process.wait()
    line = {"rounds": ROUNDS, "load": round(os.getloadavg()[0], 1)}
    ours = [statistics.median(column) for column in zip(*times["kerasdl"], strict=True)]
    for kind, rows in times.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        line[f"{kind} s"], line[f"{kind} cpu s"] = (round(each, 3) for each in medians)
        if kind != "kerasdl":
            pairs = zip(medians, ours, strict=True)
            line[f"/{kind}"], line[f"/{kind} cpu"] = (round(theirs / own, 2) for theirs, own in pairs)
    return line


def main() -> None:
    """Measures what is missing, and prints the table."""
    import kept_lines

    asked = kept_lines.asked(__doc__, KINDS, kind="net", seeds=None)
    kept_lines.measure(RESULTS, KEYS, {} if asked.table else {(net,): partial(measured, net) for net in asked.names})
    times = {f"{kind} {unit}": ".3f" for kind in BUILDERS for unit in ("s", "cpu s")}
    ratios = {f"/{kind}{unit}": ".2f" for kind in BUILDERS if kind != "kerasdl" for unit in ("", " cpu")}
    kept_lines.means(RESULTS, KEYS, {"load": ".1f", **times, **ratios})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        answer(*sys.argv[2:])
    else:
        main()

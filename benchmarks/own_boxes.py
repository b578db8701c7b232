"""Own boxes to an int8 file: `shapes_yolo` fine-tuned on 30 scenes of five emoji, average precision of net and file.

    python benchmarks/own_boxes.py --seeds 1        # about 1 processor minute a seed
    python benchmarks/own_boxes.py --table          # what was measured so far

Each seed is a line of JSON in `own_boxes.jsonl` of the working folder, and is not measured again. 24 scenes are learnt,
6 choose the epoch. 18 of the 24 give the ranges of int8, the others judge the file. Net and file are measured on 100
scenes with other parts of the photographs. `words` is the judgement of the file by its objects.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import kept_lines

import kerasdl
from kerasdl.bundles.operations.file_evaluation import evaluate_file
from kerasdl.data import hold_out
from kerasdl.data.detection import paste_stickers
from kerasdl.train import RunConfig

RESULTS, KEYS = Path("own_boxes.jsonl"), ("bundle", "seed")
EMOJI = ("RED APPLE", "DOG FACE", "BUS", "RAINBOW", "TOP HAT")
CONFIG = {"batch_size": 8, "schedule": "cosine", "strategy": None, "progress": "off"}


def measured(bundle: str, seed: int) -> dict:
    """Tunes a bundle with one seed, exports it, and returns the figures of net and file."""
    train, validation = hold_out(paste_stickers(30, seed=seed, classes=EMOJI), 0.2)
    test, cpu = paste_stickers(100, split="test", classes=EMOJI), time.process_time()
    given = {"epochs": 40, "learning_rate": 2e-3, "config": RunConfig(seed=seed, **CONFIG)}
    tuned = kerasdl.load_bundle(bundle).finetune(train, validation, **given)
    line = {"cpu_seconds": round(time.process_time() - cpu)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.tflite")
        report = tuned.export(path, quantize="int8", representative=train)
        of_file, of_bundle, _ = evaluate_file(path, test, bundle=tuned)
    for name, evaluation in (("AP50", of_bundle), ("file AP50", of_file)):
        line[name] = round(float(evaluation.figures["AP50"]), 4)
    return {**line, "bytes": report.bytes, "words": [each for each in report.notes if "judged by answers" in each]}


def main() -> None:
    """Measures what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, ("shapes_yolo",), kind="bundle")
    jobs = {(name, seed): partial(measured, name, seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, {} if asked.table else jobs)
    kept_lines.means(RESULTS, KEYS[:1], {"AP50": ".3f", "file AP50": ".3f", "bytes": ",.0f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()

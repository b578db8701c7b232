"""Quickstart on embedded data: fine-tune a bundle on few images, export it and verify the files."""

import csv
import dataclasses
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from kerasdl.bundles import Bundle, load_bundle
from kerasdl.core import build, checks, files, set_seed
from kerasdl.data import Dataset, load
from kerasdl.deploy import ExportReport, benchmark, run_exported
from kerasdl.train import RunConfig, fit

from .output import show_table
from .pictures import draw_comparison, draw_confusion

START = "glyphs_mobilenet"
PER_CLASS = 10
EPOCHS = 15
EXPORTS = {"digits.tflite": None, "digits_int8.tflite": "int8", "digits.onnx": None}
# The last epoch counts: the choice of the best by validation would use labels beyond the ten images per class.
SETTINGS = RunConfig(
    epochs=EPOCHS, batch_size=16, learning_rate=3e-3, schedule="cosine", weight_decay=1e-2, restore_best=False
)


def run_quickstart(out: str | Path, *, seed: int = 0, quiet: bool = False) -> dict:
    """Fine-tunes `glyphs_mobilenet` on 10 images of each digit, compares with training from scratch, and exports.

    Args:
        out: folder for bundle, exported files, pictures, card and figures.
        seed: random seed of the whole run.
        quiet: whether to print nothing.

    Returns:
        The measured figures, which are also in `out`/figures.json.

    Raises:
        ArgumentError: `out` is a file.
        ExportError: an exported file would compute something else than the model.

    Example:
        >>> kerasdl.cli.run_quickstart("quickstart", quiet=True)["fine-tuned"] > 0.8
        True
    """
    out, started = Path(out), time.perf_counter()
    if out.exists() and not out.is_dir():
        checks.refuse("out must be a folder or a new path", str(out), "It is a file.")
    console = Console(quiet=quiet)
    set_seed(seed)
    bundle = load_bundle(START)
    few = bundle.ready(load("digits", "train").per_class(PER_CLASS, seed=seed))
    validation, test = (bundle.ready(load("digits", split)) for split in ("validation", "test"))
    config = dataclasses.replace(SETTINGS, seed=seed, progress="off" if quiet else "auto")

    console.print(f"[bold]1 of 3[/] Fine-tuning {START} on {few.size} images of handwritten digits")
    tuned, tuned_curve = _fine_tuned(bundle, few, validation, config, out)
    console.print(f"[bold]2 of 3[/] Training the same net from scratch on the same {few.size} images")
    scratch, scratch_curve = _from_scratch(bundle, few, validation, config)
    measured = tuned.evaluate(test)
    accuracy = {"fine-tuned": measured["accuracy"], "from scratch": scratch.evaluate(test)["accuracy"]}
    tuned = tuned.with_metrics("digits test", measured)
    tuned.save(out / "digits.zip")
    files.write_text(out / "card.md", tuned.card())
    _write_sample(out / "sample.png")

    console.print("[bold]3 of 3[/] Exporting, and running every file against the model")
    exports = [_export(tuned, out / name, quantize, few, test) for name, quantize in EXPORTS.items()]
    curves = {"fine-tuned": tuned_curve, "from scratch": scratch_curve}
    draw_comparison(out / "curves.png", curves, accuracy, f"{few.size} images of digits, {EPOCHS} epochs")
    _draw_confusion(out / "confusion.png", tuned, test)
    figures = {**accuracy, "seconds": time.perf_counter() - started, "exports": exports}
    files.write_json(out / "figures.json", figures)
    if not quiet:
        _show(out, figures)
    return figures


def _fine_tuned(bundle: Bundle, few: Dataset, validation: Dataset, config: RunConfig, out: Path):
    """Returns the fine-tuned bundle and its validation accuracy after each epoch."""
    config = dataclasses.replace(config, folder=out / "run", resume=False)
    rate = config.learning_rate
    tuned = bundle.finetune(few, validation, epochs=EPOCHS, learning_rate=rate, config=config, name="digits")
    stages = (out / "run" / stage / "log.csv" for stage in ("head", "stage1"))
    rows = [row for stage in stages for row in csv.DictReader(stage.read_text().splitlines())]
    return tuned, [float(row["val_accuracy"]) for row in rows]


def _from_scratch(bundle: Bundle, few: Dataset, validation: Dataset, config: RunConfig):
    """Returns a bundle of the same net with new weights, trained equally long, and its validation accuracy."""
    arguments = {**bundle.manifest.arguments, "classes": len(few.class_names)}
    model = build(bundle.manifest.builder, **arguments)
    run = fit(model, few, validation=validation, config=config)
    scratch = Bundle.of(model, name="scratch", task=bundle.task, preprocess=bundle.preprocess, labels=few.class_names)
    return scratch, run.history["val_accuracy"]


def _export(tuned: Bundle, path: Path, quantize: str | None, few: Dataset, test: Dataset) -> dict:
    report: ExportReport = tuned.export(path, quantize=quantize, representative=few)
    inputs, truth = test.arrays()
    (logits,) = run_exported(path, inputs).values()
    return {
        "file": path.name,
        "bytes": report.bytes,
        "drift": report.worst_relative,
        "same answer": report.top1_agreement,
        "accuracy": float(np.mean(logits.argmax(axis=-1) == truth)),
        "ms": benchmark(path).median_ms,
    }


def _write_sample(path: Path) -> None:
    images, _ = load("digits", "test", scale=None).take(1).arrays()
    with files.writing(path) as file:
        Image.fromarray(images[0].squeeze()).resize((256, 256)).save(file)


def _draw_confusion(path: Path, tuned: Bundle, test: Dataset) -> None:
    inputs, truth = test.arrays()
    guess = tuned.model.predict(inputs, verbose=0).argmax(axis=-1)
    title = f"{np.mean(guess == truth):.1%} of {len(truth)} test images right"
    draw_confusion(path, truth, guess, tuned.labels, title)


def _show(out: Path, figures: dict) -> None:
    show_table(
        "test accuracy",
        ("net", "accuracy"),
        [(name, f"{figures[name]:.1%}") for name in ("fine-tuned", "from scratch")],
    )
    rows = [tuple(export.values()) for export in figures["exports"]]
    show_table("exported, each run in its own runtime", tuple(figures["exports"][0]), rows)
    print(f"\n{out}/ holds the bundle, the exported files, curves.png, confusion.png and card.md.")
    print(f"Done in {figures['seconds']:.0f} s.\n")
    print("Next:")
    program = "kerasdl" if shutil.which("kerasdl") else sys.argv[0]
    print(f"  {program} predict {out}/digits.zip {out}/sample.png")
    print(f"  {program} export {out}/digits.zip app.tflite --quantize int8 --data digits --raw-shape 32x32x3")
    print(f"  {program} finetune glyphs_mobilenet FOLDER_OF_CLASS_FOLDERS --out mine.zip")

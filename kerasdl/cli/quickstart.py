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

from kerasdl.bundles import Bundle, load_bundle, resized
from kerasdl.core import build, checks, files, set_seed
from kerasdl.data import Dataset, load
from kerasdl.deploy import ExportReport, benchmark, run_exported
from kerasdl.train import RunConfig, fit

from .output import show_table
from .pictures import draw_answers, draw_comparison, draw_confusion

EPOCHS = 15
# The last epoch counts: the choice of the best by validation would use labels beyond the ten images per class.
SETTINGS = RunConfig(
    epochs=EPOCHS, batch_size=16, learning_rate=3e-3, schedule="cosine", weight_decay=1e-2, restore_best=False
)
PHOTOS, LETTERS = "imagenet_efficientnet_lite0", "glyphs_mobilenet"
SIDE = 128
"""Pixels of the images that the net of photos is tuned on: less than its 224, for a third of the time."""
STYLES = {"same style": "emoji_kinds", "other style": "emoji_kinds:noto"}
PER_CLASS = 10
EMOJI_FILES = {"emoji.tflite": None, "emoji_int8.tflite": "int8"}
DIGIT_FILES = {"digits.tflite": None, "digits_int8.tflite": "int8", "digits.onnx": None}


def run_quickstart(out: str | Path, *, data: str = "emoji", seed: int = 0, quiet: bool = False) -> dict:
    """Fine-tunes an embedded bundle on 10 images of each class, exports the result and checks the files.

    `emoji` tunes a net of photos on five kinds of emoji, and tests it on a second style of drawing too. `digits` tunes
    a net of rendered letters on handwritten digits, and compares with training from scratch.

    Args:
        out: folder for bundle, exported files, pictures, card and figures.
        data: `emoji` or `digits`.
        seed: random seed of the whole run.
        quiet: whether to print nothing.

    Returns:
        The measured figures, which are also in `out`/figures.json.

    Raises:
        ArgumentError: `out` is a file, or `data` is another word.
        ExportError: an exported file would compute something else than the model.

    Example:
        >>> kerasdl.cli.run_quickstart("quickstart", quiet=True)["same style"] > 0.5
        True
    """
    job = {"emoji": _learn_emoji, "digits": _learn_digits}[checks.one_of("data", data, ("emoji", "digits"))]
    out, started = Path(out), time.perf_counter()
    if out.exists() and not out.is_dir():
        checks.refuse("out must be a folder or a new path", str(out), "It is a file.")
    set_seed(seed)
    config = dataclasses.replace(SETTINGS, seed=seed, progress="off" if quiet else "auto")
    figures = job(out, config, Console(quiet=quiet))
    figures = {**figures, "seconds": time.perf_counter() - started}
    files.write_json(out / "figures.json", figures)
    if not quiet:
        _show(out, data, figures)
    return figures


# Emoji


def _learn_emoji(out: Path, config: RunConfig, console: Console) -> dict:
    train, tests = load("emoji_kinds", "train"), {style: load(name, "test") for style, name in STYLES.items()}
    console.print(f"[bold]1 of 2[/] Fine-tuning {PHOTOS} on {train.size} emoji: {', '.join(train.class_names)}")
    bundle, rate = resized(load_bundle(PHOTOS), (SIDE, SIDE, 3)), config.learning_rate
    config = dataclasses.replace(config, folder=out / "run", resume=False)
    tuned = bundle.finetune(train, epochs=EPOCHS, learning_rate=rate, config=config, name="emoji")
    measured = {style: tuned.evaluate(test) for style, test in tests.items()}
    for style, values in measured.items():
        tuned = tuned.with_metrics(f"{STYLES[style]} test", values)
    tuned.save(out / "emoji.zip")
    files.write_text(out / "card.md", tuned.card())

    console.print("[bold]2 of 2[/] Exporting with the preprocessing inside, and running every file")
    pixels = {style: load(name, "test", scale=None).arrays() for style, name in STYLES.items()}
    shape = train.input_shape
    exports = [
        _export(tuned, out / name, quantize, train, *pixels["same style"], raw_shape=shape)
        for name, quantize in EMOJI_FILES.items()
    ]
    accuracy = {style: values["accuracy"] for style, values in measured.items()}
    rows = [("learnt from", *load("emoji_kinds", "train", scale=None).arrays(), None)]
    rows += [
        (f"{style}: {accuracy[style]:.1%} right", *pixels[style], _answers(tuned, tests[style])) for style in STYLES
    ]
    draw_answers(out / "answers.png", rows, tuned.labels)
    _draw_confusion(out / "confusion.png", tuned, tests["same style"])
    _write_sample(out / "sample.png", pixels["same style"][0][0])
    return {**accuracy, "exports": exports}


# Digits


def _learn_digits(out: Path, config: RunConfig, console: Console) -> dict:
    bundle = load_bundle(LETTERS)
    few = bundle.ready(load("digits", "train").per_class(PER_CLASS, seed=config.seed))
    validation, test = (bundle.ready(load("digits", split)) for split in ("validation", "test"))
    console.print(f"[bold]1 of 3[/] Fine-tuning {LETTERS} on {few.size} images of handwritten digits")
    tuned, tuned_curve = _fine_tuned(bundle, few, validation, config, out)
    console.print(f"[bold]2 of 3[/] Training the same net from scratch on the same {few.size} images")
    scratch, scratch_curve = _from_scratch(bundle, few, validation, config)
    measured = tuned.evaluate(test)
    accuracy = {"fine-tuned": measured["accuracy"], "from scratch": scratch.evaluate(test)["accuracy"]}
    tuned = tuned.with_metrics("digits test", measured)
    tuned.save(out / "digits.zip")
    files.write_text(out / "card.md", tuned.card())

    console.print("[bold]3 of 3[/] Exporting, and running every file against the model")
    exports = [_export(tuned, out / name, quantize, few, *test.arrays()) for name, quantize in DIGIT_FILES.items()]
    curves = {"fine-tuned": tuned_curve, "from scratch": scratch_curve}
    draw_comparison(out / "curves.png", curves, accuracy, f"{few.size} images of digits, {EPOCHS} epochs")
    _draw_confusion(out / "confusion.png", tuned, test)
    _write_sample(out / "sample.png", load("digits", "test", scale=None).take(1).arrays()[0][0])
    return {**accuracy, "exports": exports}


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


# Both


def _export(
    tuned: Bundle,
    path: Path,
    quantize: str | None,
    few: Dataset,
    inputs: np.ndarray,
    truth: np.ndarray,
    raw_shape: tuple | None = None,
) -> dict:
    report: ExportReport = tuned.export(path, quantize=quantize, representative=few, raw_shape=raw_shape)
    (logits,) = run_exported(path, inputs.astype("float32")).values()
    return {
        "file": path.name,
        "bytes": report.bytes,
        "drift": report.worst_relative,
        "same answer": report.top1_agreement,
        "accuracy": float(np.mean(logits.argmax(axis=-1) == truth)),
        "ms": benchmark(path).median_ms,
    }


def _write_sample(path: Path, image: np.ndarray) -> None:
    with files.writing(path) as file:
        Image.fromarray(image.squeeze()).resize((256, 256)).save(file)


def _answers(tuned: Bundle, test: Dataset) -> np.ndarray:
    """Returns the class that a bundle gives for each example, (B,)."""
    inputs, _ = tuned.ready(test).arrays()
    return tuned.model.predict(inputs, verbose=0).argmax(axis=-1)


def _draw_confusion(path: Path, tuned: Bundle, test: Dataset) -> None:
    _, truth = test.arrays()
    guess = _answers(tuned, test)
    title = f"{np.mean(guess == truth):.1%} of {len(truth)} test images right"
    counts = np.zeros((len(tuned.labels), len(tuned.labels)), int)
    np.add.at(counts, (truth, guess), 1)
    draw_confusion(path, counts, tuned.labels, title)


def _show(out: Path, data: str, figures: dict) -> None:
    accuracies = [(name, f"{value:.1%}") for name, value in figures.items() if name not in ("exports", "seconds")]
    show_table("test accuracy", ("net" if data == "digits" else "emoji of the", "accuracy"), accuracies)
    rows = [tuple(export.values()) for export in figures["exports"]]
    show_table("exported, each run in its own runtime", tuple(figures["exports"][0]), rows)
    shape, picture = ("32x32x3", "curves.png") if data == "digits" else ("64x64x3", "answers.png")
    print(f"\n{out}/ holds the bundle, the exported files, {picture}, confusion.png and card.md.")
    print(f"Done in {figures['seconds']:.0f} s.\n")
    print("Next:")
    program = "kerasdl" if shutil.which("kerasdl") else sys.argv[0]
    name = "digits" if data == "digits" else "emoji_kinds"
    print(f"  {program} predict {out}/{data}.zip {out}/sample.png")
    print(f"  {program} export {out}/{data}.zip app.tflite --quantize int8 --data {name} --raw-shape {shape}")
    print(f"  {program} finetune FOLDER_OF_CLASS_FOLDERS --out mine.zip")

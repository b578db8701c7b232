"""Commands that train: fine-tuning of a bundle, and the quickstart."""

import dataclasses
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Annotated, Any

import typer

import kerasdl
from kerasdl import cli
from kerasdl.bundles.format import archive
from kerasdl.core import checks

from .. import path_checks
from ..application import BundleName, Images, Json, SeriesName, Time, app, data_name
from ..output import reported, show_json, show_table
from . import tuning_report as told

START = "imagenet_efficientnet_lite0"  # for images with a label each
STARTS = {"object_detection": "shapes_yolo", "semantic_segmentation": "shapes_unet"}
"""Bundle that is fine-tuned on images if none is named."""
SPLIT = (
    "Split: a folder with train, validation (or val, valid) and test folders is read by them; without a validation "
    "folder, 10 % of each class of train validate. A folder of class folders alone is cut by seed 0: 80 % of each "
    "class to train, 10 % to validate, 10 % for `evaluate`; so are files of boxes that name no splits. With "
    "--validation it is learnt whole."
)
CALIBRATED = (
    "Split: as in finetune, but a folder that the bundle has learnt nothing from, without validation images, is used "
    "whole. The threshold keeps 95 % of the right answers; with --none alone it parts right answers "
    "and those pictures best. Exported files and the programs beside them follow it."
)
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="[BUNDLE] DATA",
        help=f"A bundle and data, as in evaluate; images alone are learnt by {START}, with --from by the peer.",
    ),
]
Peer = Annotated[
    str | None,
    typer.Option(
        "--from", help="Start from a peer: keras-applications:NAME, hf://owner/name (both download), a folder."
    ),
]
PeerFile = Annotated[Path | None, typer.Option(help="With --from: a local file of the peer's weights; no download.")]
OtherImages = Annotated[Path | None, typer.Option(help="As --images, for --validation; else the same.")]
Labels = Annotated[
    str | None, typer.Option(help="Of a coco:, voc: or labelme: name: semantic gives maps of classes; else boxes.")
]
Folder = Annotated[Path | None, typer.Option(help="Keeps the run here, so that a killed one goes on.")]
Task = Annotated[str | None, typer.Option(help="Task that the data must be for, such as text_classification.")]
Text = Annotated[
    str | None, typer.Option(help="Column or key of the texts of csv:FILE and jsonl:FILE, FIRST+SECOND of pairs; text.")
]
Label = Annotated[str | None, typer.Option(help="Column or key of their labels; label.")]
Target = Annotated[
    str | None, typer.Option(help="Of csv:FILE of time series: columns to forecast, with commas between them.")
]
Past = Annotated[str | None, typer.Option(help="Of the same: columns that are known up to now.")]
Future = Annotated[str | None, typer.Option(help="Of the same: columns that are known in advance.")]
Horizon = Annotated[int | None, typer.Option(help="Of the same: steps to forecast.")]
Length = Annotated[int | None, typer.Option(help="Of the same: steps of a window; three times --horizon, at least 24.")]
Freeze = Annotated[
    str | None, typer.Option(help="staged, gradual, backbone (head alone) or none; staged, for detectors none.")
]
Net = Annotated[
    str | None,
    typer.Option(help="With --from: our net, where the peer does not tell it; the net of texts and series."),
]
Letterbox = Annotated[bool, typer.Option(help="Detectors: images keep their aspect ratio, between grey borders.")]
Tensorboard = Annotated[Path | None, typer.Option(help="A folder for TensorBoard logs, one subfolder a stage.")]


@app.command(epilog=SPLIT)
@reported
def finetune(
    names: Names,
    out: Annotated[Path, typer.Option(help="Where the new bundle goes: a folder, or a .zip.")],
    validation: Annotated[str | None, typer.Option(help="Other images to validate on: a folder or a name.")] = None,
    images: Images = None,
    validation_images: OtherImages = None,
    labels: Labels = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, all stages; 5, of new series 30.")] = None,
    freeze: Freeze = None,
    freeze_epochs: Annotated[int | None, typer.Option(help="Epochs of the head alone; else a third.")] = None,
    groups: Annotated[int | None, typer.Option(help="Groups of layers, by depth; else 1, or 3 with gradual.")] = None,
    layer_decay: Annotated[float | None, typer.Option(help="Rate of a group by that above it; else 1/3.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    augment: Annotated[str | None, typer.Option(help="light, randaugment or augmix.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without improvement that end a stage.")] = None,
    prune: Annotated[float | None, typer.Option(help="Share of the weights to make zero, after it.")] = None,
    qat: Annotated[int | None, typer.Option(help="Epochs of training with rounding, after it; for int8.")] = None,
    folder: Folder = None,
    resume: Annotated[bool, typer.Option(help="Whether the run in --folder goes on.")] = True,
    source: Peer = None,
    weights: PeerFile = None,
    model: Net = None,
    side: Annotated[int | None, typer.Option(help="Height and width in pixels; smaller is faster.")] = None,
    letterbox: Letterbox = False,
    task: Task = None,
    text: Text = None,
    label: Label = None,
    time: Time = None,
    target: Target = None,
    past: Past = None,
    future: Future = None,
    series: SeriesName = None,
    horizon: Horizon = None,
    length: Length = None,
    seed: Annotated[int, typer.Option(help="One seed for everything but the split.")] = 0,
    tensorboard: Tensorboard = None,
    mlflow: Annotated[str | None, typer.Option(help="The tracking URI of MLflow, or a folder.")] = None,
    json: Json = False,
) -> None:
    """Fine-tune a copy of a bundle on your data, such as a folder of images in class folders."""
    asked, start = SimpleNamespace(**locals()), perf_counter()
    archive.check_replaceable(out)
    read, loaded, notes = read_and_start(asked)
    options, of_series = cli.run_options, cli.series_data  # which load TensorFlow: after the checks of paths
    run = {"batch_size": batch_size, "folder": folder, "resume": resume, "seed": seed, "patience": patience}
    run |= {"augment": options.augmentation(augment, loaded.preprocess), "progress": "off" if json else "auto"}
    config = kerasdl.train.RunConfig(schedule="cosine", **run)
    name, epochs = out.name.removesuffix(".zip"), of_series.epochs_of(epochs, loaded)
    settings = {"epochs": epochs, "learning_rate": learning_rate, "config": config, "groups": groups, "name": name}
    settings |= {"freeze": freeze or cli.text_start.freezing_of(loaded), "freeze_epochs": freeze_epochs}
    trackers = options.trackers(tensorboard, mlflow, name)
    with told.told_on_interrupt(out, folder):
        tuned = loaded.finetune(read.train, read.validation, layer_decay=layer_decay, callbacks=trackers, **settings)
        tuned = options.compressed(tuned, read, prune, qat, config)
        tuned.save(out)
    (data,) = cli.text_start.with_columns(text, label, names[-1])
    command = told.next_command(out, data, images, validation)
    told.show_tuned(tuned, out, perf_counter() - start, told.advice(tuned, read.train), command, json and notes)


def read_and_start(asked: SimpleNamespace) -> tuple[Any, Any, list[str]]:
    """Returns the data of a fine-tuning, the bundle that learns and sentences on both, which are printed.

    Args:
        asked: the arguments of `finetune` by name.
    """
    *bundle, data = checked_names(asked.names, asked.source)
    validation, labels, images = asked.validation, asked.labels, asked.images
    path_checks.check_sources(data, validation, images, asked.validation_images, asked.source, asked.weights)
    roles = (asked.time, asked.target, asked.past, asked.future, asked.series, asked.horizon, asked.length)
    if {*roles} == {None}:
        path_checks.check_csv_columns(asked.text, asked.label, data, validation)
    kerasdl.set_seed(asked.seed)
    texts, of_series, loaded = cli.text_start, cli.series_data, None
    cli.run_options.check_compression(asked.prune, asked.qat)
    columns = of_series.SeriesColumns.of(*roles)
    if columns is None:
        data, validation = texts.with_columns(asked.text, asked.label, data, validation)
        read = cli.training_data.read_training_data(data, validation, images, asked.validation_images, labels)
        texts.check_task(asked.task, read.train)
    else:
        other = {"validation": validation, "--from": asked.source, "text": asked.text, "label": asked.label}
        other |= {"labels": labels, "images": images, "side": asked.side, "augment": asked.augment}
        other |= {"letterbox": asked.letterbox or None}
        read, loaded = of_series.series_to_learn(data, columns, asked.task, bundle, asked.model, other)
    updates = told.updates_note(read.train, asked.batch_size, asked.epochs or of_series.USUAL_EPOCHS)
    notes = [*read.notes, *updates]
    told.show_notes(() if asked.json else notes)
    if loaded is None:
        loaded = starting_bundle(bundle, read.train, asked.source, asked.weights, asked.model, asked.side)
    return read, with_letterbox(loaded, asked.letterbox), notes


def checked_names(names: list[str], source: str | None) -> list[str]:
    """Returns `[bundle, data]` or `[data]`; refuses other forms, and a model's name where a bundle's is due."""
    if len(names) not in ((1, 2) if source is None else (1,)):
        checks.refuse("a bundle and data must be named, or the data alone with --from", names)
    if len(names) == 2 and names[0] not in kerasdl.bundles.list_bundles() and names[0] in kerasdl.list_models():
        spec = kerasdl.spec(names[0])
        bundles = kerasdl.bundles.bundled_models().get(names[0], [])
        peer = spec.weights.get("keras-applications")
        ways = [f"--from keras-applications:{peer} {names[1]}"] if peer else []
        ways += [f"{bundle} {names[1]}" for bundle in bundles] or [names[1]]
        hint = f"Try `kerasdl finetune {'`, or `kerasdl finetune '.join(ways)}`. `kerasdl bundles` lists all."
        checks.refuse("a bundle has trained weights; this is the name of a model without any", names[0], hint)
    for bundle in names[:-1]:
        path_checks.check_bundle(bundle)
    return names


def starting_bundle(bundle: list[str], train: Any, source: str | None, weights: Any, model: Any, side: int | None):
    """Returns the bundle to fine-tune: the named one, that of a peer, the default for images, or a new one of texts."""
    if source is not None:
        shape = None if side is None else (side, side, 3)
        return kerasdl.weights.bundle_from(source, model=model, file=weights, image_shape=shape)
    if not bundle and train.task in kerasdl.cli.text_start.MAKERS:
        return kerasdl.cli.text_start.text_bundle(train, model)
    if not bundle and not train.images:
        checks.refuse(f"a bundle must be named, since {START} is the default for images alone", train.name)
    loaded = kerasdl.load_bundle(*bundle or [STARTS.get(train.task, START)])
    if side is None:
        return loaded
    return kerasdl.bundles.resized(loaded, (side, side, loaded.model.input_shape[-1]))


def with_letterbox(bundle: Any, letterbox: bool) -> Any:
    """Returns a bundle, one that keeps the aspect ratio of images if that is asked for."""
    if not letterbox:
        return bundle
    return dataclasses.replace(bundle, preprocess={**bundle.preprocess, "letterbox": True})


@app.command(epilog=CALIBRATED)
@reported
def calibrate(
    bundle: BundleName,
    data: Annotated[
        str, typer.Argument(help="Data whose validation part is used; a folder never learnt from is used whole.")
    ],
    out: Annotated[Path, typer.Option(help="Where the new bundle goes: a folder, or a .zip.")],
    none: Annotated[str | None, typer.Option(help="A folder of pictures of none of the classes.")] = None,
    keep: Annotated[float | None, typer.Option(help="Share of right answers that keep their label; 0.95.")] = None,
    validation: Annotated[str | None, typer.Option(help="Other images for it, as in finetune.")] = None,
    json: Json = False,
) -> None:
    """Teach a copy of a bundle to answer "none of these", and make its scores probabilities that hold."""
    archive.check_replaceable(out)
    path_checks.check_bundle(bundle)
    path_checks.check_data(data, validation, none)
    loaded = kerasdl.load_bundle(bundle)
    held = None if validation is not None else kerasdl.bundles.unseen_data(loaded, data_name(data))
    if held is not None and not json:
        print(f"All {held.size} images are used, since the bundle learnt from none of them. Evaluate it on others.")
    if held is None:
        held = kerasdl.cli.training_data.read_training_data(data, validation).validation
    if held is None:
        checks.refuse("data to calibrate on must have a class of three images", data, "Give --validation.")
    calibrated = loaded.calibrate(held, none, keep=keep)
    calibrated.save(out)
    calibration, line = calibrated.calibration, calibrated.manifest.provenance["calibrated on"]
    figures = list(calibrated.manifest.metrics.values())[-1]
    if json:
        return show_json({"bundle": str(out), **vars(calibration), "examples": line, **figures})
    rows = [("temperature", calibration.temperature), ("threshold", calibration.threshold), *figures.items()]
    show_table(f"{out}, on {line}", ("figure", "value"), rows)
    print(f"Saved to {out}: below a score of {calibration.threshold:.4g} its answer is none of these.")


@app.command()
@reported
def quickstart(
    out: Annotated[Path, typer.Option(help="The folder to fill.")] = Path("quickstart"),
    data: Annotated[str, typer.Option(help="What to learn: emoji or digits.")] = "emoji",
    seed: Annotated[int, typer.Option(help="One seed for everything.")] = 0,
    json: Json = False,
) -> None:
    """Fine-tune a pretrained bundle on few images, export it and verify the files: about two minutes."""
    figures = kerasdl.cli.run_quickstart(out, data=data, seed=seed, quiet=json)
    if json:
        show_json(figures)

"""Commands of the command line; those that only list do not load TensorFlow."""

import dataclasses
import importlib.metadata
import platform
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import kerasdl
from kerasdl.bundles.format import archive
from kerasdl.core import EXPORT_FORMATS, checks
from kerasdl.core.errors import ArgumentError, DataError

from . import launching
from .output import EXIT_HELP, reported, show_json, show_results, show_table

app = typer.Typer(
    help="Deep learning on Keras 3: build, train, and ship what was trained.",
    epilog=EXIT_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
# Bundle that is fine-tuned on images if none is named.
START = "imagenet_efficientnet_lite0"
BundleName = Annotated[str, typer.Argument(help="An embedded name, a folder, a .zip, or hf://owner/name.")]
Data = Annotated[str, typer.Argument(help="digits, glyphs, folder:PATH, tfds:NAME, or a folder of class folders.")]
PACKAGES = ("tensorflow", "keras", "tf_keras", "tensorflow-model-optimization", "tf2onnx", "onnx", "onnxruntime")
PACKAGES += ("ai-edge-litert", "tensorflow-datasets", "keras-tuner", "scikit-learn", "numpy", "matplotlib")
PACKAGES += ("tensorboard", "importlib_resources", "pillow")
WORST = 10  # number of layers shown with the largest errors
EXTRAS = {"hub": ("huggingface_hub",), "test": ("pytest", "hypothesis")}


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    app()


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Deep learning on Keras 3: build, train, and ship what was trained."""
    if show:
        print(kerasdl.__version__)
        raise typer.Exit


@app.command()
@reported
def models(
    pattern: Annotated[str, typer.Argument(help="Wildcards, such as 'vision/*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only models of this task.")] = None,
    json: Json = False,
) -> None:
    """List the registered models."""
    specs = [kerasdl.spec(name) for name in kerasdl.list_models(pattern, task=task)]
    if not specs:
        checks.refuse("pattern and task must fit at least one model", f"{pattern} {task or ''}".strip())
    if json:
        return show_json([{**dataclasses.asdict(spec), "macs": spec.macs} for spec in specs])
    pretrained = kerasdl.bundles.bundled_models()
    rows = [
        (spec.name, spec.task, spec.params, _millions(spec.macs), _exports(spec), spec.qat, _sources(spec, pretrained))
        for spec in specs
    ]
    show_table("models", ("name", "task", "weights", "MACs", "exports", "QAT", "pretrained"), rows)


@app.command()
@reported
def describe(name: Annotated[str, typer.Argument(help="A model's name.")], json: Json = False) -> None:
    """Show the specification of a model."""
    spec = kerasdl.spec(name)
    if json:
        return show_json({**dataclasses.asdict(spec), "macs": spec.macs})
    fields = {
        **dataclasses.asdict(spec),
        "macs": spec.macs,
        "exports": _exports(spec),
        **{f"no {k}": v for k, v in spec.exports.items()},
    }
    show_table(name, ("field", "value"), [(key, value) for key, value in fields.items() if value not in ("", (), {})])


@app.command()
@reported
def bundles(json: Json = False) -> None:
    """List the bundles of kerasdl and of installed packages."""
    loaded = {name: kerasdl.load_bundle(name) for name in kerasdl.bundles.list_bundles()}
    package_of = kerasdl.bundles.package_of
    if json:
        extras = ({"digest": each.digest, "package": package_of(name)} for name, each in loaded.items())
        return show_json(
            [{**dataclasses.asdict(each.manifest), **more} for each, more in zip(loaded.values(), extras, strict=True)]
        )
    columns = ("name", "task", "labels", "weights", "measured", "package")
    rows = [
        (name, each.task.name, len(each.labels), each.model.count_params(), _figures(each), package_of(name))
        for name, each in loaded.items()
    ]
    show_table("bundles", columns, rows)


@app.command()
@reported
def finetune(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] DATA",
            help=f"A bundle and data, as in evaluate; images alone are learnt by {START}, with --from by the peer.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the new bundle goes: a folder, or a .zip.")],
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 5,
    freeze: Annotated[str, typer.Option(help="staged, features (head alone) or none.")] = "staged",
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    folder: Annotated[Path | None, typer.Option(help="Keeps the run here, so that a killed one goes on.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Start from a peer: keras-applications:NAME, hf://owner/name, a folder."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="With --from: a local file of the peer's weights.")] = None,
    model: Annotated[str | None, typer.Option(help="With --from: our net, where the peer does not tell it.")] = None,
    side: Annotated[
        int | None, typer.Option(help="Height and width of the images in pixels; smaller is faster.")
    ] = None,
    seed: Annotated[int, typer.Option(help="One seed for everything but the split.")] = 0,
    json: Json = False,
) -> None:
    """Fine-tune a copy of a bundle on your data, such as a folder of images in class folders."""
    archive.check_replaceable(out)
    kerasdl.set_seed(seed)
    start = time.perf_counter()
    if len(names) not in ((1, 2) if source is None else (1,)):
        checks.refuse("a bundle and data must be named, or the data alone with --from", names)
    *bundle, data = names
    train, validation = _load(data, "train"), _load_validation(data)
    if source is None:
        if not bundle and not train.images:
            checks.refuse(f"a bundle must be named, since {START} is the default for images alone", data)
        loaded = kerasdl.load_bundle(*bundle or [START])
        if side is not None:
            loaded = kerasdl.bundles.resized(loaded, (side, side, loaded.model.input_shape[-1]))
    else:
        shape = None if side is None else (side, side, 3)
        loaded = kerasdl.weights.bundle_from(source, model=model, file=weights, image_shape=shape)
    config = kerasdl.train.RunConfig(
        batch_size=batch_size, folder=folder, seed=seed, schedule="cosine", progress="off" if json else "auto"
    )
    name = out.name.removesuffix(".zip")
    tuned = loaded.finetune(
        train, validation, epochs=epochs, freeze=freeze, learning_rate=learning_rate, config=config, name=name
    )
    tuned.save(out)
    figures = {"bundle": str(out), "seconds": time.perf_counter() - start, **tuned.manifest.metrics}
    if json:
        return show_json(figures)
    show_table(str(out), ("data", "figure", "value"), _metric_rows(tuned))


@app.command()
@reported
def predict(
    bundle: BundleName,
    inputs: Annotated[list[Path], typer.Argument(help="Images, folders of images, or .json lists.")],
    json: Json = False,
) -> None:
    """Predict labels and scores for raw input."""
    loaded = kerasdl.load_bundle(bundle)
    names, raw, unread = kerasdl.cli.read_inputs(inputs, loaded.preprocess.get("levels"))
    results = loaded.predict(raw)
    if json:
        show_json([{"input": name, **result} for name, result in zip(names, results, strict=True)])
    else:
        show_results(names, results, loaded.task.table)
    for line in unread:
        print("error:", line, file=sys.stderr)
    if unread:
        raise typer.Exit(3)


@app.command()
@reported
def evaluate(
    bundle: BundleName,
    data: Data,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    json: Json = False,
) -> None:
    """Measure a bundle on labelled data."""
    figures = kerasdl.load_bundle(bundle).evaluate(_load(data, split))
    if json:
        return show_json(figures)
    show_table(f"{bundle} on {data} ({split})", ("figure", "value"), list(figures.items()))


@app.command()
@reported
def export(
    bundle: BundleName,
    path: Annotated[Path, typer.Argument(help=".tflite, .onnx, or a folder for a SavedModel.")],
    quantize: Annotated[
        str | None, typer.Option(help="TFLite: float16, dynamic, int8 or int16x8; ONNX: dynamic or int8.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data that calibrates int8 and on which the file is checked.")
    ] = None,
    raw_shape: Annotated[
        str | None, typer.Option(help="Take the preprocessing into the file: raw input of this shape, 480x640x3.")
    ] = None,
    selective: Annotated[bool, typer.Option(help="TFLite int8: keep the layers that lose most in float.")] = False,
    correct_biases: Annotated[
        bool, typer.Option(help="TFLite int8: subtract the mean error of each channel from its bias.")
    ] = False,
    integer_io: Annotated[bool, typer.Option(help="TFLite int8: inputs and outputs are integers too.")] = False,
    layer_report: Annotated[bool, typer.Option(help="TFLite int8: list what each layer loses.")] = False,
    trainable: Annotated[bool, typer.Option(help="TFLite: with signatures to learn on the device.")] = False,
    opset: Annotated[int, typer.Option(help="ONNX: the operator set, 13 to 22.")] = 18,
    dynamic_axes: Annotated[str, typer.Option(help="ONNX: free dimensions, all, batch or none.")] = "all",
    image_bytes: Annotated[bool, typer.Option(help="SavedModel: also take the content of JPEG and PNG files.")] = False,
    json: Json = False,
) -> None:
    """Write a bundle for another runtime and verify the file; report and card are written beside it."""
    representative = None if data is None else _load(data, "train")
    report = kerasdl.load_bundle(bundle).export(
        path,
        representative=representative,
        raw_shape=_shape(raw_shape),
        quantize=quantize,
        selective="auto" if selective else None,
        correct_biases=correct_biases,
        integer_io=integer_io,
        layer_report=layer_report,
        trainable=trainable,
        opset=opset,
        dynamic_axes=dynamic_axes,
        image_bytes=image_bytes,
    )
    if json:
        return print(report.to_json())
    shown = ("format", "bytes", "worst_absolute", "worst_relative", "top1_agreement", "measure", "tolerance", "seconds")
    show_table(str(path), ("figure", "value"), [(name, getattr(report, name)) for name in shown])
    if report.layers:
        worst = [(row.layer, row.operation, row.error) for row in report.layers[:WORST]]
        show_table(f"what layers lose, worst {len(worst)}", ("layer", "operation", "share lost"), worst)
    for note in report.notes:
        print("note:", note)


@app.command()
@reported
def benchmark(
    paths: Annotated[list[Path], typer.Argument(help=".tflite and .onnx files, SavedModel folders.")],
    threads: Annotated[int, typer.Option(help="Threads that each runtime gets.")] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs of each.")] = 50,
    plot: Annotated[Path | None, typer.Option(help="Draws the latencies into this .png.")] = None,
    json: Json = False,
) -> None:
    """Measure latency, memory and size of exported files side by side, one example at a time, in alternation."""
    if plot is not None:
        checks.one_of("the suffix of --plot", plot.suffix, (".png", ".svg", ".pdf"))
    compared = kerasdl.deploy.compare(paths, runs=runs, threads=threads)
    if plot is not None:
        compared.plot(plot)
    if json:
        return print(compared.to_json())
    rows = [dataclasses.astuple(row) for row in compared.rows]
    columns = ("file", "kind", "bytes", "gzip bytes", "median ms", "p95 ms", "memory bytes", "ratio")
    show_table(f"{compared.runs} runs in turns, threads: {compared.threads}", columns, rows)


@app.command("data-service")
@reported
def data_service(
    port: Annotated[int, typer.Option(help="The TCP port; the next one is taken too.")] = 5050,
    host: Annotated[str | None, typer.Option(help="The name under which trainers reach this machine.")] = None,
) -> None:
    """Decode data for trainers on other machines, until stopped; use it on private networks only."""
    kerasdl.train.serve_data(port, host)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
@reported
def launch(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments, after --.", metavar="-- CMD...")],
    workers: Annotated[
        int | None, typer.Option(help="Workers to start here; without, this process takes its place in a cluster.")
    ] = None,
    restarts: Annotated[int, typer.Option(help="How often all may start again after one has died.")] = 3,
    pin: Annotated[bool, typer.Option(help="Give each worker cores of its own.")] = True,
    grace: Annotated[float, typer.Option(help="Seconds to save in, once asked to stop.")] = 30.0,
) -> None:
    """Train with several workers: `kerasdl launch --workers 2 -- python train.py`. The program needs no change."""
    raise typer.Exit(launching.launch(command, workers, restarts=restarts, pin=pin, grace=grace))


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


@app.command()
@reported
def doctor(json: Json = False) -> None:
    """Show versions, devices and missing packages."""
    versions = {"python": platform.python_version(), "kerasdl": kerasdl.__version__}
    versions |= {name: _version(name) for name in PACKAGES}
    optional = {f"{name} (extra: {extra})": _version(name) for extra, names in EXTRAS.items() for name in names}
    missing = [name for name, version in versions.items() if version is None]
    devices = [] if missing else _devices()
    if json:
        show_json({"versions": versions, "optional": optional, "devices": devices, "missing": missing})
    else:
        rows = [(name, version or "missing") for name, version in (versions | optional).items()]
        show_table("doctor", ("package", "version"), rows)
        print("devices:", ", ".join(devices) or "unknown until the missing packages are installed")
        print(
            f"missing: {', '.join(missing)}. Run: pip install {' '.join(missing)}" if missing else "Nothing is missing."
        )
    if missing:
        raise typer.Exit(6)


def _load(data: str, split: str):
    """Loads data with the split that all commands share, so that no command tests on training data of another."""
    name = f"folder:{data}" if Path(data).is_dir() else data
    if ":" not in name:
        names = [record.name for record in kerasdl.data.list_datasets()]
        checks.known_name("dataset or folder", name, names, f"No folder stands at {data}.")
    return kerasdl.data.load(name, split)


def _load_validation(data: str):
    try:
        return _load(data, "validation")
    except (ArgumentError, DataError) as error:  # no such split, or an empty one
        print(f"no validation: {error}", file=sys.stderr)
        return None


def _shape(text: str | None) -> tuple[int, ...] | None:
    sizes = [] if text is None else text.split("x")
    if not all(size.isdecimal() for size in sizes):
        checks.refuse("a shape must be whole numbers with an x between", text, "Such as 480x640x3.")
    return tuple(map(int, sizes)) or None


def _devices() -> list[str]:
    import tensorflow as tf

    return [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]


def _exports(spec) -> str:
    refused = [name for name in EXPORT_FORMATS if name in spec.exports]
    return "all" if not refused else "all but " + ", ".join(refused)


def _millions(macs: int | None) -> str:
    return "" if macs is None else f"{macs / 1e6:,.1f} M"


def _sources(spec, bundled: dict[str, list[str]]) -> str:
    peers = [name if kind == "keras-applications" else kind for kind, name in spec.weights.items()]
    return ", ".join([*bundled.get(spec.name, ()), *peers])


def _figures(bundle) -> str:
    return "; ".join(f"{data} {name} {value:.4g}" for data, name, value in _metric_rows(bundle) if name != "loss")


def _metric_rows(bundle) -> list[tuple[str, str, float]]:
    metrics = bundle.manifest.metrics
    return [(data, name, value) for data, figures in metrics.items() for name, value in figures.items()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

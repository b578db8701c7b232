"""Commands about machines: several workers, and what is installed."""

import importlib.metadata
import platform
from typing import Annotated

import typer

import kerasdl

from .. import launching
from ..application import Json, app
from ..output import reported, show_json, show_table

PACKAGES = ("tensorflow", "keras", "tf_keras", "tensorflow-model-optimization", "tf2onnx", "onnx", "onnxruntime")
PACKAGES += ("ai-edge-litert", "tensorflow-datasets", "keras-tuner", "scikit-learn", "numpy", "matplotlib")
PACKAGES += ("tensorboard", "importlib_resources", "pillow")
EXTRAS = {"hub": ("huggingface_hub",), "test": ("pytest", "hypothesis")}


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


def _devices() -> list[str]:
    import tensorflow as tf

    return [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

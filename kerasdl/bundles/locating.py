"""Location of a bundle by name or path: what is missing or of another kind is refused before TensorFlow is imported."""

import os
from pathlib import Path

from kerasdl.core import checks, files
from kerasdl.core.errors import BundleError

from .format import archive
from .listing import list_bundles, path_of

REMOTE = "hf://"
WRAP = (
    'Make a bundle of it: Bundle.of(LOAD(PATH), name="...", task="image_classification", preprocess=..., labels=...).'
)
RUN = "Run it by kerasdl.deploy.run_exported(PATH, inputs), or load the bundle from which it was exported."
READ = "Build their model, and read them by kerasdl.import_weights(model, PATH)."
FOREIGN = {  # by suffix, what a file is and what to do with it; PATH stands for its path
    ".keras": ("a Keras model, without labels and preprocessing", WRAP.replace("LOAD", "keras.saving.load_model")),
    ".h5": ("a Keras 2 file, without labels and preprocessing", WRAP.replace("LOAD", "kerasdl.deploy.from_tf_keras")),
    ".tflite": ("a TFLite file", RUN),
    ".onnx": ("an ONNX file", RUN),
    **dict.fromkeys(files.IMAGE_SUFFIXES, ("an image", "Name the bundle first, then the images.")),
    **dict.fromkeys((".safetensors", ".pth", ".pt", ".bin"), ("weights alone", READ)),
}
SAVED_MODEL = ("a SavedModel", RUN)
NO_BUNDLE = ("a folder without bundle.json", "Load a folder of images by kerasdl.data.load(PATH).")
BESIDE = {  # by ending, what an export writes beside a file
    ".json": "the report",
    ".labels.txt": "the labels",
    ".md": "the card",
    ".py": "the Python program",
    ".kt": "the Kotlin program",
    ".swift": "the Swift program",
}


def locate_bundle(name_or_path: str | os.PathLike) -> Path | None:
    """Returns the path of a bundle; None for `hf://owner/name`, which has none here.

    Raises:
        BundleError: nothing is at that path, or it is a model, an image or a file of another kind.
        UnknownNameError: there is no such embedded bundle and no such path.

    Example:
        >>> locate_bundle("digits_mobilenet").name
        'digits_mobilenet.zip'
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name.startswith(REMOTE):
        return None
    if path.exists():
        return _checked_kind(path)
    near = files.near_miss(path)
    if os.sep in name or path.suffix == ".zip":
        raise BundleError(f"a bundle is a folder or a .zip; nothing is at {name!r}. Check the path.{near}")
    hint = "Or pass the path of a folder or a .zip; untrained nets come from kerasdl.build."
    checks.known_name("bundle", name, list_bundles(), hint + near)
    return path_of(name)


def check_not_beside(path: str | os.PathLike) -> None:
    """Checks that a file is not one that an export wrote beside another, such as a report.

    Raises:
        BundleError: it is; the text names both.
    """
    path = Path(path)
    for ending, content in BESIDE.items():
        exported = path.with_name(path.name.removesuffix(ending))
        if exported != path and exported.suffix in (".tflite", ".onnx") and exported.is_file() and path.is_file():
            rule = f"a model file must be given; {path.name} is {content} of {exported.name}"
            raise BundleError(f"{rule}. Give {exported}.")


def _checked_kind(path: Path) -> Path:
    """Refuses a file or folder that is a model without a bundle, before it is read as one."""
    check_not_beside(path)
    kind = FOREIGN.get(path.suffix.lower()) if path.is_file() else None
    if (path / "saved_model.pb").is_file():
        kind = SAVED_MODEL
    elif path.is_dir() and not any((path / name).exists() for name in (archive.MANIFEST, archive.SUMS)):
        kind = NO_BUNDLE
    if kind is not None:
        what, remedy = kind
        if (program := path.with_name(f"{path.name}.py")).is_file():
            remedy = (
                f"Run the program beside it: python {program} INPUT. Or load the bundle from which it was exported."
            )
        rule = f"a bundle must be a folder or a .zip that bundle.save wrote; {path.name} is {what}"
        raise BundleError(f"{rule}. {remedy.replace('PATH', repr(str(path)))}")
    return path

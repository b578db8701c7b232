"""Every public name says what it does, and its example runs."""

import ast
import doctest
import importlib
import inspect
import re
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from unallocated import unallocated

import kerasdl
from kerasdl.core.registry import models, tasks

ROOT = Path(kerasdl.__file__).parent
STUBS = sorted(ROOT.rglob("__init__.pyi"))
# The quickstart is the slow lane's; what a model class inherits is documented by Keras.
LONG_EXAMPLES = {"kerasdl.cli:run_quickstart", "kerasdl.cli:main"}
SEARCHES = ("find_learning_rate", "profile_step")
LONG = {"kerasdl.core:build", "kerasdl.train:fit_progressively", *(f"kerasdl.train:{name}" for name in SEARCHES)}
# Examples that train, export or load for seconds, of functions that other tests of the lanes run too.
SECONDS = {
    "bundles": (
        *("AttentionComparison", "compare_attention", "Bundle.export", "Bundle.finetune", "Bundle.evaluate"),
        *("evaluate_file", "Evaluation", "resized", "evaluate_classes"),
    ),
    "deploy": ("export_saved_model", "quantize_aware"),
    "explain": ("completeness_error", "compare_methods", "score_cam", "report"),
    "generative": ("flow_log_likelihood", "image_bits", "StyleGAN"),
    "rl": ("TRPO", "PPO", "check_env", "REINFORCE", "DQN", "A2C", "dagger", "train_seeds", "study_agents", "tune"),
    "sequence": ("speculative_generate", "contrastive_generate", "TruncatedBackpropagation"),
    "train": ("distill", "fit", "finetune", "Trainer", "find_batch_size", "GradientMonitor"),
    "train.tracking": ("WandB", "MLflow", "TensorBoard", "CSVLog"),
    "vision.detection": ("MaskRCNN", "Detector", "FasterRCNN", "FastRCNN", "RCNN"),
    "vision.panoptic": ("PanopticFPN",),
    "weights": ("import_weights", "bundle_from"),
}
SECONDS = {f"kerasdl.{package}:{name}" for package, names in SECONDS.items() for name in names}


def public_names():
    for stub in STUBS:
        package = ".".join(["kerasdl", *stub.parent.relative_to(ROOT).parts])
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and stub.parent != ROOT:
                for alias in node.names:
                    yield f"{package}:{alias.name}"


def builders():
    return sorted({kerasdl.spec(name).builder for name in kerasdl.list_models()})


NAMES = sorted({*public_names(), *builders()})


def found(name: str):
    package, _, attribute = name.partition(":")
    return getattr(importlib.import_module(package), attribute)


@pytest.mark.parametrize("name", [name for name in NAMES if callable(found(name))])
def test_docstring_has_its_parts(name):
    thing = found(name)
    text = inspect.getdoc(thing) or ""
    assert text.partition("\n")[0].rstrip().endswith("."), f"{name}: one line of what, with a full stop"
    if inspect.isfunction(thing):
        parameters = [p for p in inspect.signature(thing).parameters if p != "self"]
        assert "Example:" in text or name in LONG_EXAMPLES, f"{name} has no example"
        assert "Args:" in text or len(parameters) <= 1, f"{name} does not say what its arguments are"
        assert "Returns" in text or inspect.signature(thing).return_annotation in (None, "None"), name


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a photo, and the names that examples take for granted; what they register is forgotten."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "orange").save("cat.jpg")
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
    labels = np.arange(8) % 4
    yield {
        **{"keras": keras, "kerasdl": kerasdl, "np": np, "tf": tf, "images": images},
        **{"x": images, "y": labels, "x_val": images, "y_val": labels},
    }
    for table in (models._specs, models._functions, tasks._tasks):
        for name in ("my_model", "mine"):
            table.pop(name, None)


def examples():
    for name in NAMES:
        thing = found(name)
        if name in LONG_EXAMPLES or not callable(thing) or not (thing.__module__ or "").startswith("kerasdl"):
            continue
        for test in doctest.DocTestFinder(recurse=True).find(thing, name):
            if test.examples:
                yield pytest.param(thing, test, id=test.name, marks=marks_of(name, test.name))


def marks_of(name: str, example: str) -> list:
    """Returns the lane of an example: a full-size net takes seconds to build, an export seconds to make."""
    if name in builders() or example in SECONDS:
        return [pytest.mark.bars]
    return [pytest.mark.slow] if name.startswith("kerasdl.deploy:") or name in LONG else []


@pytest.mark.parametrize(("thing", "test"), [*examples()])
def test_example_runs(thing, test, workplace, capsys, tiny):
    parts = thing.__module__.split(".")
    packages = [importlib.import_module(".".join(parts[:depth])) for depth in range(2, len(parts))]
    public = {name: getattr(each, name) for each in packages for name in getattr(each, "__all__", ())}
    test.globs = {**vars(inspect.getmodule(thing)), **public, **workplace, "__name__": "examples"}
    if any(re.search(r"\bmodel\b", each.source) for each in test.examples):  # a copy of its own takes a while
        test.globs["model"] = keras.models.clone_model(tiny("mobilenet_v2"))
        test.globs["model"].set_weights(tiny("mobilenet_v2").get_weights())
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    # Examples of nets show shapes and counts of full-size ones, which need no values.
    of_net = test.name in builders() or (
        thing.__module__.startswith("kerasdl.vision") and test.name.endswith("_features")
    )
    with unallocated() if of_net else nullcontext():
        result = runner.run(test, clear_globs=False)
    assert result.failed == 0, capsys.readouterr().out

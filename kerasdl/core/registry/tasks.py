"""Task schema: the interface by which bundles, `fit`, the contract test and the command line reach any family."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import checks
from ..outputs.activation import gives_probabilities
from ..outputs.decoding import one_row
from ..outputs.loss_scale import from_logits, over_probabilities
from ..outputs.measurement import Measurement
from .index import load_index


def classes_argument(labels: Sequence[str]) -> dict[str, int]:
    """Returns `{"classes": how many}`, by which most builders are told their labels."""
    return {"classes": len(labels)}


@dataclasses.dataclass(frozen=True)
class Task:
    """Schema of a task: all that differs between an image classifier, a text classifier and a tabular regressor."""

    name: str
    """The task's name, such as `image_classification`."""
    module: str
    """The module that registers it, `__name__` there."""
    loss: Callable[[], Any]
    """Returns the default `keras.losses.Loss`; for a classifier it is over logits."""
    metrics: Callable[[], list]
    """Returns the default list of `keras.metrics.Metric`, over logits where the loss is."""
    monitor: tuple[str, str]
    """The logged figure that picks the best checkpoint, and `"max"` or `"min"`."""
    check: Callable[[Mapping[str, Any], Sequence[str], Any], None]
    """Raises `ArgumentError` where settings of the preprocessing, or labels, do not fit a model."""
    preprocess: Callable[[Any, Mapping[str, Any]], tuple[Any, Any]]
    """Turns raw input into the model's inputs, by the settings that a bundle keeps in preprocess.json, and a context
    for `decode`, such as the sizes of the raw images, or None."""
    preprocess_layers: Callable[[Mapping[str, Any], tuple], list]
    """Returns built-in Keras layers that do the same inside a graph, from settings and the shape of a raw input."""
    decode: Callable[[Any, Sequence[str], Any], list]
    """Turns scores (probabilities; a regression's values), labels and context into one plain result per example."""
    replace_head: Callable[[Any, int], Any] | None
    """Returns the model with a new head of so many outputs and all other weights; None builds the model again by its
    builder and `label_arguments`."""
    example: Callable[[Any, int, int], tuple]
    """Draws `(inputs, targets)` of the model for `(model, batch, seed)`, the data of the contract test."""
    activation: str | None = None
    """Activation that turns logits into scores, `softmax` or `sigmoid`; None if outputs are the scores."""
    predict: Callable[[Mapping[str, Any], Any, int], Any] | None = None
    """Returns predictions from `(networks, inputs, batch size)`: generation, search, suppression of overlaps. None
    takes the single output of the network `model`."""
    trainer: Callable[[Mapping[str, Any]], Any] | None = None
    """Returns a `kerasdl.train.Trainer` of networks by role, `model` first, for a loss or step that Keras does not
    have. None trains the model itself."""
    trainer_example: Callable[[Any, int, int], Any] | None = None
    """Draws training data of the trainer, as `as_dataset` takes them, for `(model, batch, seed)`. None takes `example`,
    as for a detector; the data of a generator are not its inputs."""
    ready: Callable[[Any, Mapping[str, Any]], Any] | None = None
    """Returns a `Dataset` for the model or the trainer from one of raw examples and the settings: boxes move with their
    images. None prepares images by `image_shape` and `scale`, and leaves all else unchanged."""
    figures: Callable[[Mapping[str, Any], Any], Mapping[str, float] | Measurement] | None = None
    """Returns figures of networks on a dataset that no Keras metric gives, or a `Measurement` with them."""
    file_figures: Callable[[Callable[..., Mapping[str, Any]], Any, Sequence[str]], Measurement] | None = None
    """Returns the measurement of an exported file on a dataset, from a function that runs the file on prepared inputs,
    the dataset and the labels. Numbers that the file takes beside its input are keywords of that function. None is for
    tasks whose files give one row of scores, or cannot be measured."""
    label_arguments: Callable[[Sequence[str]], Mapping[str, Any]] = classes_argument
    """Returns the arguments of a builder for these labels; by default `{"classes": number of labels}`."""
    for_labels: Callable[[Mapping[str, Any], Sequence[str]], tuple[dict[str, Any], list[str]]] | None = None
    """Returns copies of several networks by role for other labels, and the names of the new layers. None keeps the
    labels of bundles of several networks."""
    exported: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Returns the networks of an exported file by signature, made from copies of the networks by role: an encoder and a
    decode step of the layers of a translator. None exports `model` alone."""
    exported_samples: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None
    """Returns inputs of each exported network, from `(exported networks, inputs of model)`: states after some steps."""
    draw: Callable[[Any, Any, Sequence[str]], Any] | None = None
    """Returns a picture (H, W, 3) uint8 of a raw input with its result, from the input, the result and the labels."""
    class_map: Callable[[Any, Sequence[str]], Any] | None = None
    """Returns the class of each pixel (H, W) of a result, from the result and the labels, to be written as an image."""
    postprocess: Callable[[Mapping[str, Any], Mapping[str, Any], tuple], Any] | None = None
    """Returns a model from the outputs of the network `model`, by their names, to the answers, from networks by role,
    settings and the shape of an input of the file: decoding and suppression. An exported file runs it behind the
    network, in float32. Settings with `threshold_inputs` ask for one that takes `thresholds` as inputs too."""
    thresholds: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, tuple]] | None = None
    """Returns the numbers that `postprocess` can take as inputs by name, each as a default and another value on which a
    file is tried, from networks by role and settings. None takes none."""
    answer_layers: Callable[[Mapping[str, Any], Any], list] | None = None
    """Returns built-in Keras layers that turn the output of a model into raw answers, from settings and the model. They
    stand at the end of a file whose graph begins with `preprocess_layers`; None leaves the output as it is."""
    file_facts: Callable[[Mapping[str, Any], Mapping[str, Any], tuple | None], Mapping[str, Any]] | None = None
    """Returns facts for the app that feeds an exported file, from networks by role, settings and the shape of a raw
    input where the file prepares it, else None: a dict by the name of its kind, with `steps` in words. None adds
    none; those of images and texts follow from their settings, and those of `text` here stand in their place."""
    answers: str = ""
    """Sentence for the card of such a file on the outputs of `postprocess`: coordinates, order, padding."""
    summary: str = ""
    """Words for the model card after "A model that": "names what an image shows"."""
    raw_example: Callable[[Mapping[str, Any]], str] | None = None
    """Returns Python source of raw input for the model card, from settings. None takes a photo, a text or zeros."""
    limits: str = ""
    """Sentences for the model card about what a model of the task does not do, such as its answers to other inputs."""
    table: Callable[[Any], list[dict]] = one_row
    """Returns the rows `{column: value}` of a table for people from the result of one input: one a box, one a sentence.
    By default one row, the result without its `scores`."""

    def loss_for(self, model: Any, sample: Any = None) -> Any:
        """Returns the default loss over the model's outputs: logits, or probabilities if it ends in a softmax.

        Args:
            model: a Keras model.
            sample: as in `output_activations`; needed for a subclassed model.
        """
        loss = self.loss()
        return over_probabilities(loss) if from_logits(loss) and gives_probabilities(model, sample) else loss

    def metrics_for(self, model: Any, sample: Any = None) -> list:
        """Returns the default metrics over the model's outputs, as `loss_for` does."""
        metrics = self.metrics()
        over = from_logits(self.loss()) and gives_probabilities(model, sample)
        return [over_probabilities(metric) for metric in metrics] if over else metrics


_tasks: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Adds a task under its name; a second one of the same name is an error.

    Returns:
        The task.

    Raises:
        ArgumentError: the name is taken.

    Example:
        >>> mine = dataclasses.replace(get_task("image_classification"), name="mine", module="mine")
        >>> register_task(mine).name
        'mine'
    """
    if task.name in _tasks:
        checks.refuse("a task's name must be new", task.name)
    _tasks[task.name] = task
    return task


def live_tasks() -> list[Task]:
    """Returns all tasks registered in this process, by name."""
    return [_tasks[name] for name in sorted(_tasks)]


def get_task(name: str | Task) -> Task:
    """Returns the task of that name, importing its family on first use.

    Raises:
        UnknownNameError: no family registers it.

    Example:
        >>> get_task("image_classification").monitor
        ('val_accuracy', 'max')
    """
    if isinstance(name, Task):
        return name
    modules = load_index()["tasks"]
    if name not in _tasks:
        checks.known_name("task", name, [*_tasks, *modules])
        importlib.import_module(modules[name])
    return _tasks[name]

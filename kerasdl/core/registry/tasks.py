"""What a task is: the schema by which bundles, `fit`, the contract test and the command line reach any family."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import checks
from ..outputs.activation import gives_probabilities
from ..outputs.loss_scale import from_logits, over_probabilities
from .index import load_index


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that differs between an image classifier, a text classifier and a tabular regressor."""

    name: str
    """The task's name, such as `image_classification`."""
    module: str
    """The module that registers it, which is `__name__` there."""
    loss: Callable[[], Any]
    """Makes the default `keras.losses.Loss`; of a classifier over logits."""
    metrics: Callable[[], list]
    """Makes the default list of `keras.metrics.Metric`, over what the loss is over."""
    monitor: tuple[str, str]
    """The logged figure that picks the best checkpoint, and `"max"` or `"min"`."""
    check: Callable[[Mapping[str, Any], tuple], None]
    """Raises `ArgumentError` where settings of the preprocessing do not fit a model of that input shape."""
    preprocess: Callable[[Any, Mapping[str, Any]], tuple[Any, Any]]
    """Turns raw input into the model's inputs, by the settings that a bundle keeps in preprocess.json, and a context:
    what `decode` must know of the raw input, such as the sizes of images; None for nothing."""
    preprocess_layers: Callable[[Mapping[str, Any], tuple], list]
    """Makes the built-in Keras layers that do the same inside a graph, from settings and the shape of a raw input."""
    decode: Callable[[Any, Sequence[str], Any], list]
    """Turns scores (probabilities; a regression's values), labels and context into one plain result per example."""
    replace_head: Callable[[Any, int], Any] | None
    """Returns the model with a fresh head of so many outputs, every other weight kept; None where that cannot be."""
    example: Callable[[Any, int, int], tuple]
    """Draws `(inputs, targets)` for `(model, batch, seed)`: what the contract test feeds."""
    activation: str | None = None
    """What makes scores of logits, `softmax` or `sigmoid`; None where outputs are taken as they are."""
    predict: Callable[[Mapping[str, Any], Any, int], Any] | None = None
    """Answers inputs by networks, so many examples at once: generation, search, suppression of what overlaps. None
    takes the one output of the network `model`."""
    trainer: Callable[[Mapping[str, Any]], Any] | None = None
    """Makes what trains networks by role, `model` first, where loss or step are not those of Keras: a
    `kerasdl.train.Trainer`. None trains the model itself."""
    figures: Callable[[Mapping[str, Any], Any], Mapping[str, float]] | None = None
    """Measures networks on a dataset by figures that no Keras metric gives."""
    summary: str = ""
    """What a model of the task does, for its card: "names what an image shows"."""

    def loss_for(self, model: Any, sample: Any = None) -> Any:
        """Makes the default loss over what a model gives: logits, or probabilities where it ends in a softmax.

        Args:
            model: a Keras model.
            sample: as in `output_activations`, by which a subclassed model shows what it gives.
        """
        loss = self.loss()
        return over_probabilities(loss) if from_logits(loss) and gives_probabilities(model, sample) else loss

    def metrics_for(self, model: Any, sample: Any = None) -> list:
        """Makes the default metrics over what a model gives, as `loss_for` does."""
        metrics = self.metrics()
        over = from_logits(self.loss()) and gives_probabilities(model, sample)
        return [over_probabilities(metric) for metric in metrics] if over else metrics


_tasks: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Adds a task under its name; a second one of the same name is an error.

    Returns:
        The task.

    Raises:
        ArgumentError: there is one of that name.

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
    """Returns what has been registered in this process, by name."""
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

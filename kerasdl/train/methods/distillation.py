"""Knowledge distillation: training a student on the outputs of a teacher (https://arxiv.org/abs/1503.02531)."""

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.core.model_carrier import takes_carriers
from kerasdl.core.outputs.activation import output_activations
from kerasdl.core.registry.tasks import Task
from kerasdl.data import as_dataset

from ..config import RunConfig
from ..distribute import strategies
from ..distribute.placement import model_in_scope
from ..engine.fitting import DEFAULTS, fit
from ..loop.state import Run
from ..trainer import Trainer, own_losses


class Distiller(Trainer):
    """Trainer of a student under the distillation loss; the teacher is not tracked.

    `distill` makes and trains one. `keras.distillation.Distiller` also runs under `fit`, but it ignores sample weights
    (and so class weights), includes the teacher in the validation loss, saves the teacher in every checkpoint and
    leaves it frozen.

    Source: https://arxiv.org/abs/1503.02531, section 2.

    Args:
        student: a functional or Sequential model with one output, logits (B, ..., K).
        teacher: a model that takes the same inputs and gives logits of the same shape; it is not trained.
        temperature: T, above 0.
        alpha: share of the teacher in the loss, from 0 to 1.

    Raises:
        ArgumentError: one of the models ends in a softmax or sigmoid, so that it gives no logits.

    Example:
        >>> distiller = Distiller(model, keras.models.clone_model(model), temperature=2.0, alpha=0.7)
        >>> distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> distiller.count_params() == model.count_params()
        True
    """

    takes_loss = True

    def __init__(self, student: keras.Model, teacher: keras.Model, temperature: float = 4.0, alpha: float = 0.5):
        check_logits(student, "student")
        check_logits(teacher, "teacher")
        super().__init__({"student": student})
        # A function, since Keras would track a model and train, count and save its weights.
        self.ask_teacher = lambda x: teacher(x, training=False)
        self.temperature, self.alpha = temperature, alpha
        self.teacher_digest = digest_of(teacher)

    def identity(self) -> dict[str, Any]:
        """Returns temperature, alpha and a digest of the teacher, which distinguish this run from others."""
        return {"temperature": self.temperature, "alpha": self.alpha, "teacher": self.teacher_digest}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:  # validation measures the student alone
            return loss
        divergence = softened_divergence(self.ask_teacher(x), y_pred, self.temperature)
        if sample_weight is not None:
            axes = tuple(range(len(sample_weight.shape), len(divergence.shape)))  # a weight of a whole sequence
            divergence *= ops.cast(ops.expand_dims(sample_weight, axes), divergence.dtype)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync  # each gives its part of the mean
        penalties = own_losses(self)  # the student's own, which count in full
        return (1 - self.alpha) * (loss - penalties) + self.alpha * ops.mean(divergence) / replicas + penalties


@takes_carriers
def distill(
    student: keras.Model,
    teacher: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    temperature: float = 4.0,
    alpha: float = 0.5,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a student in place on labels and on the outputs of a teacher, and returns the run.

    The loss is (1 - alpha) * loss(labels) + alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)), of logits,
    and the student's own penalties.
    Validation measures the student alone, with `loss` and `metrics`. The run is one of `fit`, with folder, resume,
    callbacks and early stopping. The teacher does not change.

    Source: https://arxiv.org/abs/1503.02531, section 2.

    Args:
        student: a functional or Sequential model with one output, logits (B, ..., K) with K of 2 or more; or a bundle
            of one, which stays as it is.
        teacher: a model that takes the same inputs and gives logits of the same shape; or a bundle of one, whose labels
            and preprocessing a student without any takes. A bundle prepares the data.
        train: as in `fit`.
        validation: as in `fit`.
        temperature: T, above 0; the higher it is, the more the small outputs of the teacher count.
        alpha: share of the teacher in the loss, from 0 (labels alone) to 1 (the teacher alone).
        loss: of the labels, as in `fit`.
        metrics: as in `fit`.
        callbacks: as in `fit`.
        task: as in `fit`.
        config: as in `fit`.

    Returns:
        The Run, its model the student; where one of both is a bundle, a bundle.

    Raises:
        ArgumentError: settings, models and data do not fit together, a model ends in a softmax or sigmoid, or the
            folder holds another run.
        TrainingError: the loss or its gradient is no longer finite.

    Example:
        >>> teacher = keras.models.clone_model(model)
        >>> config = RunConfig(steps=2, progress="off")
        >>> run = distill(model, teacher, (x, y), task="image_classification", config=config)
        >>> run.model is model
        True
    """
    checks.within("temperature", temperature, 1e-3, 1e3)
    checks.within("alpha", alpha, 0.0, 1.0)
    _check_outputs(student, teacher)
    train = as_dataset(train)
    spec = train.spec[0]
    check_logits(teacher, "teacher", spec)
    check_fits(teacher, spec, name=f"{train.name}, for the teacher,")
    settings = {"loss": loss, "metrics": metrics, "callbacks": callbacks, "task": task, "config": config}
    with model_in_scope(teacher, strategies.strategy_for(student, config.strategy)) as teacher_in_scope:
        model = Distiller(student, teacher_in_scope, float(temperature), float(alpha))
        return fit(model, train, validation=validation, **settings)


def softened_divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """Returns T^2 * KL(softmax(teacher / T) || softmax(student / T)) over the last axis of logits, float32.

    The factor keeps the size of the gradient as the temperature rises.

    Args:
        teacher: logits (B, ..., K).
        student: logits of the same shape.
        temperature: T, above 0.
    """
    soft = ops.cast(teacher, "float32") / temperature
    targets = ops.log_softmax(soft, axis=-1)
    outputs = ops.log_softmax(ops.cast(student, "float32") / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(targets) * (targets - outputs), axis=-1)


def check_logits(model: keras.Model, role: str, sample: Any = None) -> None:
    """Refuses a student or teacher that gives probabilities, as far as its graph or a sample shows.

    Args:
        model: the model.
        role: name of the model in messages.
        sample: as in `kerasdl.core.output_activation.output_activations`.
    """
    end = output_activations(model, sample)[0]
    if end.gives_probabilities or end.is_rescaled:
        hint = f"Make a model that ends before it, without the {end.kind}, and give the loss from_logits=True."
        got = f"layer {end.layer!r} of {model.name!r}, which ends in {end.kind}"
        checks.refuse(f"a {role} must give logits, which the temperature divides", got, hint)


def _check_outputs(student: keras.Model, teacher: keras.Model) -> None:
    outputs = getattr(student, "outputs", None)
    if not outputs or len(outputs) != 1:
        checks.refuse("a student must be functional or Sequential and have one output", len(outputs or ()))
    if outputs[0].shape[-1] in (None, 1):
        checks.refuse("a student must give logits of 2 classes or more", outputs[0].shape)
    teacher_outputs = getattr(teacher, "outputs", None)
    if teacher_outputs and [each.shape for each in teacher_outputs] != [outputs[0].shape]:
        shapes = [tuple(each.shape) for each in teacher_outputs]
        checks.refuse(f"a teacher must give what the student gives, {tuple(outputs[0].shape)}", shapes)
    own, shared = {id(weight) for weight in student.weights}, {id(weight) for weight in teacher.weights}
    if own & shared:
        checks.refuse("a teacher must share no weight with the student", f"{len(own & shared)} shared", "Clone it.")


def digest_of(model: keras.Model) -> str:
    """Returns a short digest of a model's weights, by which a run recognises its teacher."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()[:16]

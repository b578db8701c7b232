"""FitNets: train a student's middle layer to match a teacher's (feature distillation), https://arxiv.org/abs/1412.6550.

Deviation from the paper: the regressor works on single positions, so both maps must have the same height and width.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.model_carrier import takes_carriers

from ..config import RunConfig
from ..distribute import strategies
from ..distribute.placement import model_in_scope
from ..engine.fitting import DEFAULTS, fit
from ..loop.state import Run
from ..trainer import Trainer
from .distillation import digest_of


class FeatureDistiller(Trainer):
    """Trainer of a student up to one of its layers, with a regressor to the width of a teacher's layer.

    It shares the layers of the student; the teacher is not tracked. Labels are not used. `distill_features` makes and
    trains one.

    Source: https://arxiv.org/abs/1412.6550, section 2.2.

    Args:
        student: a functional or Sequential model.
        teacher: a functional model that takes the same inputs; it is not trained.
        guided: the name of the student's layer that learns, with outputs (B, ..., C).
        hint: the name of the teacher's layer, of the same shape but for the last axis.

    Raises:
        ArgumentError: a model has no such layer, or the shapes do not fit.

    Example:
        >>> distiller = FeatureDistiller(model, keras.models.clone_model(model), "stem_conv", "stem_conv")
        >>> distiller.main.output_shape == model.get_layer("stem_conv").output.shape
        True
    """

    takes_loss = True

    def __init__(self, student: keras.Model, teacher: keras.Model, guided: str, hint: str):
        own, target = _output_of(student, guided, "guided"), _output_of(teacher, hint, "hint")
        if own.shape[:-1] != target.shape[:-1]:
            rule = f"guided must have the shape of hint {tuple(target.shape)} but for the last axis"
            checks.refuse(rule, tuple(own.shape))
        regressor = keras.layers.Dense(target.shape[-1], name="hint_regressor")
        super().__init__({"student": keras.Model(student.inputs[0], regressor(own), name=student.name)})
        hint_model = keras.Model(teacher.inputs, target)
        self.ask_teacher = lambda x: hint_model(x, training=False)  # a function, since Keras would track a model
        self.layer_names, self.teacher_digest = (guided, hint), digest_of(teacher)

    def identity(self) -> dict[str, Any]:
        """Returns layer names and a digest of the teacher, which distinguish this run from others."""
        return {"layers": self.layer_names, "teacher": self.teacher_digest}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if sample_weight is not None:  # one for each example, whose map has a loss at each position
            sample_weight = keras.ops.reshape(sample_weight, (-1, *[1] * (len(y_pred.shape) - 2)))
        return super().compute_loss(x, self.ask_teacher(x), y_pred, sample_weight, training)


@takes_carriers
def distill_features(
    student: keras.Model,
    teacher: keras.Model,
    train: Any,
    *,
    guided: str,
    hint: str,
    validation: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a student in place, up to one of its layers, on the outputs of a teacher's layer, and returns the run.

    The loss is the mean squared difference after a linear regressor, which is dropped at the end. Train the whole
    student with `distill` afterwards.

    Source: https://arxiv.org/abs/1412.6550, section 2.2.

    Args:
        student: a functional or Sequential model; or a bundle of one, which stays as it is.
        teacher: a functional model that takes the same inputs; or a bundle of one, as in `distill`.
        guided: the name of the student's layer that learns, with outputs (B, ..., C).
        hint: the name of the teacher's layer, of the same shape but for the last axis.
        train: as in `fit`; its labels are not used.
        validation: as in `fit`.
        callbacks: as in `fit`.
        config: as in `fit`.

    Returns:
        The Run, its model the student; where one of both is a bundle, a bundle.

    Raises:
        ArgumentError: a model has no such layer, shapes do not fit, or the models share weights.

    Example:
        >>> teacher, config = keras.models.clone_model(model), RunConfig(steps=2, progress="off")
        >>> run = distill_features(model, teacher, (x, y), guided="stem_conv", hint="stem_conv", config=config)
        >>> run.model is model
        True
    """
    if {id(weight) for weight in student.weights} & {id(weight) for weight in teacher.weights}:
        checks.refuse("a teacher must share no weight with the student", student.name, "Clone it.")
    strategy = strategies.strategy_for(student, config.strategy)
    settings = {"validation": validation, "callbacks": callbacks, "config": config, "metrics": []}
    with (
        model_in_scope(student, strategy) as student_in_scope,
        model_in_scope(teacher, strategy) as teacher_in_scope,
        strategy.scope(),
    ):
        model = FeatureDistiller(student_in_scope, teacher_in_scope, guided, hint)
        run = fit(model, train, loss=keras.losses.MeanSquaredError(), **settings)
    return dataclasses.replace(run, model=student)


def _output_of(model: keras.Model, layer: str, argument: str) -> keras.KerasTensor:
    names = [each.name for each in model.layers]
    if layer not in names:
        checks.refuse(f"{argument} must name a layer of {model.name}", layer, f"The last one is {names[-1]!r}.")
    return model.get_layer(layer).output

"""Quantization-aware training of a Keras 3 model."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from kerasdl.core.keywords import explained
from kerasdl.core.model_carrier import takes_carriers
from kerasdl.core.registry.tasks import Task
from kerasdl.train import RunConfig, fit
from kerasdl.train.engine.fitting import argument_remedies

from ..keras2.training_adapter import refuse_mixed_precision, refuse_task_with_trainer, task_with_trainer
from .placement import QuantizationScheme
from .quantized_model import DEFAULT_SCHEME, QuantizedModel

FINE_TUNING = RunConfig(epochs=3, learning_rate=3e-5, schedule="cosine", clip_norm=1.0)


@explained(argument_remedies)
@takes_carriers
def quantize_aware(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    epochs: int | None = None,
    scheme: QuantizationScheme = DEFAULT_SCHEME,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    task: Task | str | None = None,
    config: RunConfig = FINE_TUNING,
) -> QuantizedModel:
    """Fine-tunes a trained model while its kernels and activations are rounded as in an int8 file.

    Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
    (https://arxiv.org/abs/1712.05877). Ranges of activations start from 128 training examples, follow the batches, and
    are set anew from the same examples after the training, for the weights that it ended with; batch norms are folded
    into the convolutions before them and keep their statistics. A detector of one network learns by the target assigner
    and the loss that its name names; `export_with_postprocess` writes its file with decoding and suppression.

    Args:
        model: a functional or Sequential Keras 3 model, trained, or a bundle of one, which prepares the data as
            `Bundle.finetune` does; it stays as it is.
        train: what `kerasdl.train.fit` takes, as are `validation`, `loss`, `metrics`, `callbacks` and `task`.
        epochs: how long to train, `config.epochs` if None; 0 only sets the ranges.
        scheme: the settings of the rounding.
        config: the settings of the run; by default 3 epochs with AdamW at 3e-5, decaying by a cosine. With a folder, a
            run that was killed resumes there.

    Returns:
        The quantised model, with the run in `.run`; of a bundle a bundle that rounds, with the model in `.quantized`.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the task has a trainer of several networks, or
            one that needs more of its network than outputs.
        ExportError: a layer cannot be brought to tf_keras.
        TrainingError: the loss or its gradient is not finite any more.

    Example:
        >>> quiet = RunConfig(progress="off")
        >>> quantized = quantize_aware(model, (x, y), epochs=1, task="image_classification", config=quiet)
        >>> quantized.export_tflite("model.tflite").format
        'tflite int8 by training'
    """
    refuse_mixed_precision(config.mixed_precision)
    own = None if epochs == 0 or loss is not None else task_with_trainer(task, train)
    if own is not None and not getattr(own.trainer({"model": model}), "takes_stand_ins", False):
        refuse_task_with_trainer(model, task, train, "quantize_aware")
    quantized = QuantizedModel(model, scheme)
    quantized.calibrate(train)
    if epochs != 0:
        quantized.run = fit(
            quantized.model if own is None else own.trainer({"model": quantized.model}),
            train,
            validation=validation,
            loss=loss,
            metrics=metrics,
            callbacks=callbacks,
            task=task,
            config=config if epochs is None else dataclasses.replace(config, epochs=epochs),
        )
        quantized.recalibrate()
    return quantized

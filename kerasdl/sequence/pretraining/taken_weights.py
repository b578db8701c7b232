"""Weights of a pretrained encoder for a net with another head: layers of one name, and a report of what was taken."""

from dataclasses import dataclass

import keras

from kerasdl.core import checks


@dataclass(frozen=True)
class TakenWeights:
    """Report of `take_weights`: names of the layers with weights."""

    taken: tuple[str, ...]
    """Layers whose weights were copied."""
    fresh: tuple[str, ...]
    """Layers of the model that keep their own weights: the head."""
    left: tuple[str, ...]
    """Layers of the source that the model has no place for, such as the head of pretraining."""

    def __str__(self) -> str:
        return f"{len(self.taken)} layers taken; fresh: {', '.join(self.fresh)}; left: {', '.join(self.left)}"


def take_weights(model: keras.Model, source: keras.Model) -> TakenWeights:
    """Copies the weights of a pretrained net into a model, layer by layer of equal names.

    It is the step from pretraining to fine-tuning: a classifier, tagger or encoder takes the encoder of a masked
    language model that was built with the same sizes, and `kerasdl.train.finetune` trains it.

    Args:
        model: functional model, changed in place.
        source: the pretrained model.

    Returns:
        The layers that were taken, those of the model that were not, and those of the source that were left.

    Raises:
        ArgumentError: layers of one name have weights of other shapes, or the models share no layer with weights;
            nothing is changed then.

    Example:
        >>> sizes = dict(encoder="bert_tiny", length=8, vocabulary=20)
        >>> pretrained = kerasdl.build("bert_masked_lm", **sizes)
        >>> take_weights(kerasdl.build("bert_classifier", **sizes, classes=2), pretrained).fresh
        ('pooler', 'head')
    """
    own, others = ({layer.name: layer for layer in each.layers if layer.weights} for each in (model, source))
    taken = [name for name in own if name in others]
    if not taken:
        checks.refuse("models must share the names of layers with weights", (model.name, source.name))
    for name in taken:
        shapes = [[tuple(weight.shape) for weight in each[name].weights] for each in (own, others)]
        if shapes[0] != shapes[1]:
            checks.refuse(f"weights of {name!r} must have one shape in both", shapes, "Build both with the same sizes.")
    for name in taken:
        own[name].set_weights(others[name].get_weights())
    left = tuple(name for name in others if name not in own)
    return TakenWeights(tuple(taken), tuple(name for name in own if name not in others), left)

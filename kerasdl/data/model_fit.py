"""Datasets against a model's inputs, before anything is computed."""

from typing import Any

from kerasdl.core.data_fit import check_fits

from .dataset import Dataset


def check_dataset_fits(model: Any, data: Dataset) -> None:
    """Passes where a dataset's inputs can be fed to a model; see `kerasdl.core.data_fit.check_fits`.

    Args:
        model: a Keras model.
        data: the dataset; of arrays the values of whole-number inputs are looked at too.

    Raises:
        ArgumentError: an input is missing, or its shape, dtype or token ids do not fit.
        DataError: the images differ in size and no shape was asked for.

    Example:
        >>> check_dataset_fits(model, as_dataset((x, y)))
    """
    check_fits(model, data.spec[0], name=data.name)
    if data.any_order and not data.images:
        check_fits(model, data.source.inputs, name=data.name)

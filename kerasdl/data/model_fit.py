"""Check of a dataset against a model's inputs."""

from typing import Any

from kerasdl.core.data_fit import check_fits

from .dataset import Dataset


def check_dataset_fits(model: Any, data: Dataset) -> None:
    """Checks that a model takes the inputs of a dataset; see `kerasdl.core.data_fit.check_fits`.

    Args:
        model: a Keras model.
        data: the dataset; of arrays the values of integer inputs are checked too.

    Raises:
        ArgumentError: an input is missing, or its shape, dtype or token ids do not fit.
        DataError: the images differ in size and no shape was requested.

    Example:
        >>> check_dataset_fits(model, as_dataset((x, y)))
    """
    check_fits(model, data.spec[0], name=data.name)
    if data.any_order and not data.images:
        check_fits(model, data.source.inputs, name=data.name)

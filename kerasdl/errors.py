"""Errors of kerasdl under their public name, `kerasdl.errors`."""

from kerasdl.core.errors import (
    ArgumentError,
    BundleError,
    DataError,
    ExportError,
    KerasdlError,
    MissingPackageError,
    TrainingError,
    UnknownNameError,
    WeightsError,
)

__all__ = [
    "ArgumentError",
    "BundleError",
    "DataError",
    "ExportError",
    "KerasdlError",
    "MissingPackageError",
    "TrainingError",
    "UnknownNameError",
    "WeightsError",
]

"""Errors that kerasdl raises on purpose, under the name where a user looks for them: `kerasdl.errors`."""

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

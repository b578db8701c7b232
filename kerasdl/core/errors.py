"""Errors of kerasdl: each text gives the rule, the value and the remedy."""

import re


class KerasdlError(Exception):
    """Base class of kerasdl's errors; the command line prints the text alone, on one line."""


class ArgumentError(KerasdlError, ValueError):
    """An argument that breaks its rule."""


class UnknownNameError(KerasdlError, LookupError):
    """A name that is not registered; the text lists its nearest neighbours."""


class MissingPackageError(KerasdlError, ImportError):
    """An optional package that is not installed; the text gives the command that installs it."""


class DataError(KerasdlError, ValueError):
    """A data source that is missing, damaged or of another form than required."""


class TrainingError(KerasdlError, RuntimeError):
    """A training run that cannot continue, for example because its loss became NaN."""


class BundleError(KerasdlError, ValueError):
    """A bundle that is damaged, hostile or of an unknown form; nothing in it was executed or written."""


class WeightsError(KerasdlError, ValueError):
    """Weights of another library that do not fit a model; the model is unchanged."""


class ExportError(KerasdlError, RuntimeError):
    """An export that failed, or whose file computes something else than the model; the file was removed."""


def first_line(error: Exception) -> str:
    """Returns the first informative line of an error's text, at most 300 characters."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))  # Keras prints in bold
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Exception encountered" not in line]
    return (lines or [type(error).__name__])[0][:300]

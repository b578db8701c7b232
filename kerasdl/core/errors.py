"""The errors that kerasdl raises on purpose: each says the rule, what came and what to do."""

import re


class KerasdlError(Exception):
    """Base of every error raised on purpose; the command line shows its text alone, on one line."""


class ArgumentError(KerasdlError, ValueError):
    """An argument breaks its rule."""


class UnknownNameError(KerasdlError, LookupError):
    """A name that is not registered; the text lists its nearest neighbours."""


class MissingPackageError(KerasdlError, ImportError):
    """An optional package is not installed; the text holds the command that installs it."""


class DataError(KerasdlError, ValueError):
    """A data source that is missing, damaged or of another form than asked."""


class TrainingError(KerasdlError, RuntimeError):
    """A run that cannot go on, such as one whose loss is not a number any more."""


class BundleError(KerasdlError, ValueError):
    """A bundle that is damaged, hostile or of an unknown form; nothing of it was executed or written."""


class WeightsError(KerasdlError, ValueError):
    """Weights of a peer that do not fit a model; the model was left as it was."""


class ExportError(KerasdlError, RuntimeError):
    """An export that failed or did not compute what the model computes; no file was left."""


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text that says something, at most 300 characters of it."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))  # Keras prints in bold
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Exception encountered" not in line]
    return (lines or [type(error).__name__])[0][:300]

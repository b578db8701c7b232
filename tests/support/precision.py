"""Which operations of a TFLite file run on integers."""

from pathlib import Path

from kerasdl.deploy.tflite_file import operators

HEAVY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")


def in_float(path) -> set[str]:
    """Returns the names of a file's operations that give float values, but those that leave the integers."""
    return {each.name for each in operators(Path(path).read_bytes()) if each.is_float} - {"DEQUANTIZE"}


def heavy(path) -> set[str]:
    """Returns the names of the convolutions and matrix products in a file."""
    return {each.name for each in operators(Path(path).read_bytes())} & set(HEAVY)

"""Integer operations of a TFLite file."""

from collections import Counter

from kerasdl.deploy.tflite.flatbuffer import operators

HEAVY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")


def in_float(path) -> set[str]:
    """Returns the names of a file's operations that give float values, but those that leave the integers."""
    return {each.name for each in operators(path.read_bytes()) if each.is_float} - {"DEQUANTIZE"}


def heavy(path) -> tuple[Counter, Counter]:
    """Counts a file's convolutions and matrix products: those in integers, and those in float."""
    found = [each for each in operators(path.read_bytes()) if each.name in HEAVY]
    return Counter(each.name for each in found if not each.is_float), Counter(e.name for e in found if e.is_float)

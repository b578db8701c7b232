"""Files of weights as other libraries write them."""

import json
import struct


def write_safetensors(path, arrays):
    """Writes arrays of float32, float16, or uint16 as the upper half of float32, by name."""
    header, at = {}, 0
    for name, array in arrays.items():
        kind = {"float32": "F32", "float16": "F16", "uint16": "BF16"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())

"""Python program that runs an exported image classifier: its runtime, NumPy, and Pillow to read images."""

from string import Template

from .host_file import HostFile, Slot

TEMPLATE = Template('''\
"""Labels of images by the exported file of this name: `python PROGRAM photo.jpg ...`.

Needs $package, numpy, and pillow to read images.
"""

import sys
from pathlib import Path

import numpy as np
$import_line
from PIL import Image, ImageOps

FILE = Path(__file__).with_name($name)
LABELS = $labels
HEIGHT, WIDTH = $height, $width
MULTIPLY, ADD = np.array($multiply, "float32"), np.array($add, "float32")$threshold
$opened


def pixels(path):
    """Returns an image as $colour pixels (HEIGHT, WIDTH, $channels), 0 to 255: upright, bilinear and antialiased."""
    with Image.open(path) as photo:
        image = ImageOps.exif_transpose(photo)
        if image.mode[0] in "IF":
            raise SystemExit(f"{path}: an image must have 8 bits a channel; got the mode {image.mode}.")
        if image.mode == "PA" or "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("RGB")$grey
    image = image.resize((WIDTH, image.height), Image.Resampling.BILINEAR)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(HEIGHT, WIDTH, $channels)


def model_input(path):
    """Returns the input of the file for an image."""
    value = pixels(path) * MULTIPLY + ADD
$input_lines


def scores(path):
    """Returns the score of each label for an image."""
$run_lines
$output_lines


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(f"images must be named: python {sys.argv[0]} photo.jpg ...")
    for name in sys.argv[1:]:
        try:
            of_labels = scores(name)
        except OSError as error:
            raise SystemExit(f"cannot read the image {name}: {error}") from error
        best = int(of_labels.argmax())
        label = $label
        print(f"{name}\\t{label}\\t{of_labels[best]:.4f}")
''')

INTEGERS = """\
    value = np.round(value / {scale!r}) + {zero_point}
    return np.clip(value, {low}, {high}).astype("{dtype}")[None]"""
LITERT = """\
    outputs = RUNNER(**{{{input!r}: model_input(path)}})
    value = outputs[{output!r}][0]"""
ONNX = """\
    (value,) = SESSION.run([{output!r}], {{{input!r}: model_input(path)}})
    value = value[0]"""
ACTIVATIONS = {
    "softmax": "    value = np.exp(value - value.max())\n    return value / value.sum()",
    "sigmoid": "    return 1 / (1 + np.exp(-value))",
    None: "    return value",
}
OPENED = {
    False: 'RUNNER = Interpreter(model_path=str(FILE)).get_signature_runner("serve")',
    True: "SESSION = onnxruntime.InferenceSession(FILE)",
}


def python_program(file: HostFile) -> str:
    """Returns the source of the program for a .tflite or .onnx file."""
    is_onnx = file.name.endswith(".onnx")
    run = (ONNX if is_onnx else LITERT).format(input=file.input.name, output=file.output.name)
    output_lines = ACTIVATIONS[file.activation]
    if file.temperature != 1:
        output_lines = f"    value = value / {file.temperature!r}\n{output_lines}"
    knows_none = file.threshold is not None
    if file.output.scale:
        real = f"{file.output.scale!r} * (value.astype('float32') - {file.output.zero_point})"
        output_lines = f"    value = {real}\n{output_lines}"
    return TEMPLATE.substitute(
        name=repr(file.name),
        package="onnxruntime" if is_onnx else "ai-edge-litert",
        import_line="import onnxruntime" if is_onnx else "from ai_edge_litert.interpreter import Interpreter",
        opened=OPENED[is_onnx],
        labels="[\n" + "".join(f"    {label!r},\n" for label in file.labels) + "]",
        height=file.height,
        width=file.width,
        channels=file.channels,
        colour="RGB" if file.channels == 3 else "grey",
        grey="" if file.channels == 3 else '.convert("L")',
        multiply=list(file.multiply),
        add=list(file.add),
        input_lines=_input_lines(file.input),
        run_lines=run,
        output_lines=output_lines,
        threshold=f"\nTHRESHOLD = {file.threshold!r}" if knows_none else "",
        label='LABELS[best] if of_labels[best] >= THRESHOLD else "none of these"' if knows_none else "LABELS[best]",
    )


def _input_lines(slot: Slot) -> str:
    if not slot.scale:
        return f'    return value.astype("{slot.dtype}")[None]'
    low, high = slot.bounds
    return INTEGERS.format(scale=slot.scale, zero_point=slot.zero_point, dtype=slot.dtype, low=low, high=high)
